-- Version 1. Applied by database.py inside one transaction; never edited once released: later versions add files.

CREATE TABLE recorders (
    serial             TEXT PRIMARY KEY,
    address            TEXT NOT NULL,
    name               TEXT,
    firmware           TEXT,
    membership         TEXT NOT NULL DEFAULT 'unresolved',
    device_id          TEXT,
    end_user_id        TEXT,
    binding_generation INTEGER,
    binding_checked_at REAL,
    battery_percent    INTEGER,
    charging           INTEGER,
    storage_used_mb    INTEGER,
    storage_total_mb   INTEGER,
    pending            INTEGER,
    recording_now      INTEGER NOT NULL DEFAULT 0,
    rssi               INTEGER,
    first_seen_at      REAL NOT NULL,
    last_seen_at       REAL NOT NULL,
    last_visit_at      REAL,
    next_visit_at      REAL,
    waiting_for        TEXT,
    waiting_detail     TEXT,
    attempts           INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE recordings (
    id                 INTEGER PRIMARY KEY,
    serial             TEXT NOT NULL REFERENCES recorders (serial),
    file_id            TEXT NOT NULL,
    started_at         INTEGER NOT NULL,
    take               INTEGER NOT NULL,
    duration_s         INTEGER NOT NULL,
    size_kib           INTEGER NOT NULL,
    encrypted_at_rest  INTEGER NOT NULL,
    state              TEXT NOT NULL,
    size_bytes         INTEGER,
    sha256             TEXT,
    device_sha256      TEXT,
    profile            TEXT,
    membership         TEXT NOT NULL DEFAULT 'unresolved',
    device_id          TEXT,
    end_user_id        TEXT,
    binding_generation INTEGER,
    idempotency_key    TEXT,
    create_intended_at REAL,
    cloud_id           TEXT,
    verified           INTEGER,
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_attempt_at    REAL,
    waiting_since      REAL, -- when next_attempt_at was set: a clock behind it has jumped, and the wait is over
    waiting_for        TEXT,
    waiting_detail     TEXT,
    parked_reason      TEXT,
    parked_from        TEXT,
    listed_at          REAL NOT NULL,
    captured_at        REAL,
    stored_at          REAL,
    confirmed_at       REAL,
    UNIQUE (serial, file_id, started_at, take)
) STRICT;

CREATE INDEX recordings_by_state ON recordings (state, captured_at);

-- Rows of 256 KiB, the last one of a recording smaller. Immutable once written.
CREATE TABLE audio (
    id           INTEGER PRIMARY KEY,
    recording_id INTEGER NOT NULL REFERENCES recordings (id),
    number       INTEGER NOT NULL,
    data         BLOB NOT NULL,
    UNIQUE (recording_id, number)
) STRICT;

CREATE TABLE timeline (
    id           INTEGER PRIMARY KEY,
    recording_id INTEGER NOT NULL REFERENCES recordings (id),
    at           REAL NOT NULL,
    happened     TEXT NOT NULL,
    detail       TEXT NOT NULL -- a JSON object
) STRICT;

CREATE INDEX timeline_by_recording ON timeline (recording_id, id);

-- A recording that fails at every visit for years must not fill the disk with its story:
-- the first 50 lines and the newest 150 are kept.
CREATE TRIGGER timeline_bounded AFTER INSERT ON timeline
WHEN (SELECT count(*) FROM timeline WHERE recording_id = NEW.recording_id) > 200
BEGIN
    DELETE FROM timeline WHERE id = (
        SELECT id FROM timeline WHERE recording_id = NEW.recording_id ORDER BY id LIMIT 1 OFFSET 50
    );
END;
