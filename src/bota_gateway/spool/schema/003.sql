-- Version 3: what a hub's radio went through, over all its lives.

-- scope: the address of an adapter, or '' for what concerns no single one. name: see radio/tally.py.
CREATE TABLE counters (
    scope      TEXT NOT NULL,
    name       TEXT NOT NULL,
    count      INTEGER NOT NULL,
    changed_at REAL NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
