-- Version 4: what a person has paused, so that it stays paused over a restart.

CREATE TABLE paused (
    part  TEXT PRIMARY KEY, -- 'radio' or 'uploads'
    since REAL NOT NULL
) STRICT, WITHOUT ROWID;
