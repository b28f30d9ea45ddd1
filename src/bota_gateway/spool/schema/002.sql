-- Version 2: audio that goes before its recording does, and captures that an earlier spool may have uploaded.

-- When the audio here was deleted on purpose: the row stays, and nobody expects bytes any more.
ALTER TABLE recordings ADD COLUMN released_at REAL;
UPDATE recordings SET released_at = coalesce(confirmed_at, stored_at, captured_at)
WHERE sha256 IS NOT NULL AND (
    state = 'forgotten'
    OR state = 'confirming' AND NOT EXISTS (SELECT 1 FROM audio WHERE recording_id = recordings.id)
);

-- 1: the spool before this one was lost with what it knew; the cloud may have this capture already.
ALTER TABLE recordings ADD COLUMN look_first INTEGER NOT NULL DEFAULT 0;

-- When this recorder first showed a whole list to this spool: what is listed later is newer than the spool.
ALTER TABLE recorders ADD COLUMN listed_whole_at REAL;
UPDATE recorders SET listed_whole_at = last_visit_at;

-- One row. Written in one transaction with this version, so that it is there whenever version 2 is.
CREATE TABLE spool (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    follows   TEXT, -- the directory of the damaged spool that was set aside for this one
    proved_at REAL  -- when it was last tried, after a failed write, whether the disk keeps what is written
) STRICT;
INSERT INTO spool (id) VALUES (1);
