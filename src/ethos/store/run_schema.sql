-- A run's database. JSON columns hold canonical JSON; times are ISO 8601 in UTC; steps count from 1.

CREATE TABLE branches (
    name TEXT PRIMARY KEY,
    parent TEXT REFERENCES branches (name),
    fork_step INTEGER,      -- steps of the parent that belong to this branch
    fork_sequence INTEGER,  -- what the parent's journal said later is not this branch's
    CHECK ((parent IS NULL) = (fork_step IS NULL) AND (parent IS NULL) = (fork_sequence IS NULL))
);
INSERT INTO branches (name) VALUES ('main');

CREATE TABLE journal (
    sequence INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    branch TEXT NOT NULL REFERENCES branches (name),
    parent_checkpoint TEXT,
    step INTEGER NOT NULL,  -- the first step that it is in force for
    kind TEXT NOT NULL CHECK (kind IN ('knob', 'data', 'reading', 'control', 'note')),
    name TEXT NOT NULL,
    old TEXT NOT NULL,      -- JSON
    new TEXT NOT NULL,      -- JSON
    origin TEXT NOT NULL CHECK (origin IN ('person', 'rule', 'agent')),
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    rule TEXT,
    rule_version TEXT,
    evidence TEXT NOT NULL, -- JSON
    request TEXT,           -- id of the request that asked for it
    created TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE
);
CREATE INDEX journal_by_request ON journal (request) WHERE request IS NOT NULL;
CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TABLE metrics (
    branch TEXT NOT NULL REFERENCES branches (name),
    step INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,             -- NULL stands for NaN
    PRIMARY KEY (branch, name, step)
) WITHOUT ROWID;

CREATE TABLE replies (
    branch TEXT NOT NULL REFERENCES branches (name),
    step INTEGER NOT NULL,
    arm TEXT NOT NULL,
    purpose TEXT NOT NULL,
    scenario_id TEXT NOT NULL,
    clause_id TEXT NOT NULL,
    topic_id TEXT NOT NULL,
    context TEXT NOT NULL,
    pool TEXT NOT NULL,
    contrast INTEGER NOT NULL,
    prompt TEXT NOT NULL,   -- JSON
    reply TEXT NOT NULL,
    adherence REAL,         -- NULL stands for unscored
    verdicts TEXT NOT NULL, -- JSON
    created TEXT NOT NULL,
    PRIMARY KEY (branch, step, arm, purpose, scenario_id, clause_id)
);

CREATE TABLE samples (
    branch TEXT NOT NULL REFERENCES branches (name),
    step INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    asked_digest TEXT NOT NULL,  -- of the prompt and the sampling parameters
    draw INTEGER NOT NULL,
    payload TEXT NOT NULL,  -- JSON
    PRIMARY KEY (branch, step, purpose, asked_digest, draw)
);

CREATE TABLE batches (
    branch TEXT NOT NULL REFERENCES branches (name),
    step INTEGER NOT NULL,
    record TEXT NOT NULL,   -- JSON
    created TEXT NOT NULL,
    PRIMARY KEY (branch, step)
);

CREATE TABLE draws (
    branch TEXT NOT NULL REFERENCES branches (name),
    step INTEGER NOT NULL,
    knobs TEXT NOT NULL,    -- JSON: those that the step is drawn with, before its batch is there
    PRIMARY KEY (branch, step)
);

CREATE TABLE reference_logprobs (
    row_id TEXT PRIMARY KEY,
    logprobs TEXT NOT NULL  -- JSON: one number a completion, under the student before training
);

CREATE TABLE stages (
    name TEXT PRIMARY KEY,
    inputs_digest TEXT NOT NULL,
    payload TEXT,           -- JSON; NULL until it is finished
    started TEXT NOT NULL,
    finished TEXT
);

CREATE TABLE counters (
    stage TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (stage, reason)
) WITHOUT ROWID;

CREATE TABLE notices (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('failure', 'warning')),
    text TEXT NOT NULL UNIQUE
);

CREATE TABLE sittings (
    sequence INTEGER PRIMARY KEY,
    started TEXT NOT NULL,
    seconds REAL NOT NULL   -- until its latest status
);

CREATE TABLE status (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'stopped', 'done', 'failed')),
    stage TEXT NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER,          -- NULL while it isn't known
    message TEXT NOT NULL,
    updated TEXT NOT NULL
);

CREATE TABLE calls (
    role TEXT NOT NULL,
    model TEXT NOT NULL,
    purpose TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    usd REAL NOT NULL,
    key TEXT NOT NULL,      -- in the response cache; empty where the answer isn't in it
    created TEXT NOT NULL
);
