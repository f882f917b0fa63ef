-- How often each sealed scenario was read, over all runs of a user.

CREATE TABLE readings (
    scenario TEXT NOT NULL,
    entry TEXT NOT NULL,   -- hash of the reading's journal entry
    run TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (scenario, entry)
) WITHOUT ROWID;
