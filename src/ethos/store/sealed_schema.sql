-- How often each pool of sealed scenarios was read, over all runs of a user.

CREATE TABLE readings (
    pool TEXT NOT NULL,    -- digest of its scenarios
    entry TEXT NOT NULL,   -- hash of the reading's journal entry
    run TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (pool, entry)
) WITHOUT ROWID;
