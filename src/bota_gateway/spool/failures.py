"""What SQLite and the disk say, as the errors of ``errors.py``."""

import sqlite3

from bota_gateway.errors import SpoolCorruptError, SpoolError, SpoolFullError, SpoolLockedError, SpoolWriteError

_PRIMARY = 0xFF
"""SQLite's extended result codes carry the primary code in their low byte."""


def as_spool_error(error: sqlite3.Error, doing: str) -> SpoolError:
    """The spool's error for one of SQLite's, saying what was being done."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    text = f"{doing}: {error} ({name})"
    match None if code is None else code & _PRIMARY:
        case sqlite3.SQLITE_FULL:
            return SpoolFullError(f"The spool has no room for this step: {text}.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return SpoolCorruptError(f"The spool's database is damaged: {text}.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return SpoolLockedError(
                f"Another program has the spool's database open: {text}.",
                remedy="Close it (a database browser?): the gateway must be alone, ask it with: bota-gateway status.",
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return SpoolWriteError(f"The disk refused the spool: {text}.")
        case _:
            return SpoolError(f"The spool's database failed: {text}.")


def may_have_lost_a_sync(error: sqlite3.Error) -> bool:
    """Whether the kernel may have dropped pages that SQLite had handed to it.

    After a failed fsync Linux marks the pages clean, so that a later fsync succeeds without them.
    """
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY == sqlite3.SQLITE_IOERR
