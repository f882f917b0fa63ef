-- The response cache, shared by all runs: what frozen models answered, as it came.

CREATE TABLE responses (
    key TEXT PRIMARY KEY,
    meta TEXT NOT NULL,     -- JSON: what was asked, for `ethos trace`
    raw TEXT NOT NULL,
    created TEXT NOT NULL
);
