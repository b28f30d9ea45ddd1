"""The spool's numbers, each with its reason. "Measured" means docs/design-notes.md, "Spool"."""

APPLICATION_ID = 0x626F7461
"""``bota`` in ASCII, in the file's header: tells a spool from any other SQLite database."""

SCHEMA_VERSION = 5
"""The newest file in ``schema/``; the database carries its own in ``user_version``."""

DATABASE_NAME = "spool.db"
LOCK_NAME = "spool.lock"
SUSPECT_NAME = "spool.suspect"
"""Its presence says that SQLite found the database damaged while it was in use."""
ASIDE_PREFIX = "set-aside-"
"""Directories beside the database, each with a damaged one that came before it."""

BALLAST_NAME = "spool.ballast"
BALLAST_BYTES = 8 << 20
"""Room for custody on a disk that others filled: the log up to its checkpoint (4 MB), and as much for the database."""

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables need it; Debian 12 and Pi OS Bookworm ship 3.40."""

AUDIO_ROW_BYTES = 256 << 10
"""One row of audio. Measured: at 256 KiB bytes written stay near 2.1 times bytes received, a row per notification
costs 32 times; larger rows gain little and hold more in memory for each recorder."""

PIECE_BYTES = 1 << 20
"""What one read of audio brings. Measured: 1 MiB read ahead feeds an upload at the speed of a plain file."""

FORGET_ROWS = 32
"""Audio rows deleted in one transaction. Measured: the worst such transaction takes 10 ms and the log stays below
2 MB, so that a delete never holds up what is arriving."""

PAGE_BYTES = 4096
"""SQLite's page. Measured: 16 KiB and 64 KiB pages write more and raise the worst latency to a quarter second."""

CHECKPOINT_PAGES = 1000
"""Pages in the log before SQLite copies them into the database. Measured: 250 halves the worst latency and 4000 saves
nothing, but each checkpoint costs two syncs, and at 1000 (4 MB) a typical recording causes one or two."""

LOG_LIMIT_BYTES = 16 << 20
"""A log that once grew beyond this (a slow checkpoint) is cut back at its next reset."""

JOURNAL_RESERVE_BYTES = 4 << 20
"""Kept out of audio's reach below the quota: custody steps must still fit when audio no longer does, because they
are what drains the spool. A recording's rows and timeline take about 4 KiB."""

UNPULLED_KEPT = 5000
"""Rows of one recorder that were never pulled and that it does not list now: more than any list is believed to have
(4,096 entries), so that a list that comes and goes is still the same list."""
