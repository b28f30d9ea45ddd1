"""A spool on which no gateway runs: looked at and saved from, never changed. Works on one that was set aside, too.

Synchronous on purpose: the commands that use it have nothing else to do meanwhile.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from bota_gateway.errors import SpoolCorruptError, SpoolError
from bota_gateway.model import Recording, TimelineEntry
from bota_gateway.spool.const import DATABASE_NAME
from bota_gateway.spool.failures import as_spool_error
from bota_gateway.spool.journal import to_entry, to_recording
from bota_gateway.spool.lock import lock_of_existing
from bota_gateway.spool.reading import audio_bytes
from bota_gateway.spool.setup import CHECKS, NAMES_OF_TABLES, recognise

ADDED = {2: ", NULL AS released_at, 0 AS look_first"}
"""What a row of ``recordings`` lacks that was written before a version, with what it meant then."""

WORST_DAMAGE = 100
"""Lines of SQLite's own check that are told; more of them say nothing more."""


class OfflineSpool:
    """A spool opened for reading. Made by :func:`open_offline`.

    Every method raises ``SpoolCorruptError`` where the database is too damaged for it.
    """

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self._db = db
        self.version = version
        """Of its schema; an older one is brought up to date by the gateway's next start."""
        self._added = "".join(text for number, text in ADDED.items() if version < number)

    def damage(self) -> list[str]:
        """What SQLite's own check of every page finds; empty for a whole database."""
        said = [str(row[0]) for row in self.query(f"PRAGMA integrity_check({WORST_DAMAGE})")]
        return [] if said == ["ok"] else said

    def journal_damage(self) -> list[str]:
        """As `damage`, of everything but audio, as at a gateway's start; takes seconds where audio takes minutes."""
        said = [str(row[0]) for check in CHECKS for row in self.query(f"PRAGMA {check}")]
        return [line for line in said if line != "ok"][:WORST_DAMAGE]

    def recordings(self) -> Iterator[Recording]:
        """Every recording, in the order they were listed."""
        for row in self.query(f"SELECT *{self._added} FROM recordings ORDER BY id"):  # noqa: S608 - from the table above
            yield to_recording(row)

    def timeline(self, recording_id: int) -> Iterator[TimelineEntry]:
        """The story of one recording, oldest line first."""
        for row in self.query("SELECT * FROM timeline WHERE recording_id = ? ORDER BY id", recording_id):
            yield to_entry(row)

    def audio_rows(self, recording_id: int) -> Iterator[tuple[int, bytes]]:
        """Number and bytes of each row of audio, one at a time."""
        for number in self._numbers(recording_id):
            yield number, self._data(recording_id, number)

    def audio(self, recording: Recording, *, forgiving: bool = False) -> Iterator[bytes]:
        """The recording's bytes in pieces, as far as they are there; whether they are whole the digest says.

        Args:
            recording: The recording.
            forgiving: Leave out what can't be read.

        Raises:
            SpoolError: ``spool_no_audio``.
        """
        audio_bytes(recording)
        for number in self._numbers(recording.id):
            try:
                yield self._data(recording.id, number)
            except SpoolCorruptError:
                if not forgiving:
                    raise

    def _numbers(self, recording_id: int) -> list[int]:
        rows = self.query("SELECT number FROM audio WHERE recording_id = ? ORDER BY number", recording_id)
        return [row["number"] for row in rows]

    def _data(self, recording_id: int, number: int) -> bytes:
        """One row by a query of its own: Python's cursor reads ahead, and drops a good row for a bad one behind it."""
        rows = self.query("SELECT data FROM audio WHERE recording_id = ? AND number = ?", recording_id, number)
        return b"".join(row["data"] for row in rows)

    def query(self, sql: str, *parameters: object) -> Iterator[sqlite3.Row]:
        """Rows of a query, one at a time."""
        try:
            for row in self._db.execute(sql, parameters):  # noqa: UP028 - "yield from" would close a closed cursor
                yield row
        except sqlite3.Error as error:
            raise as_spool_error(error, "reading") from error


@contextmanager
def open_offline(directory: Path) -> Iterator[OfflineSpool]:
    """Open the spool in ``directory``, alone.

    A log that a killed gateway left is brought into the database, as the next start would do; nothing else changes.

    Raises:
        SpoolLockedError: a gateway uses it.
        SpoolForeignError: there is a file, and it is some other program's.
        SpoolTooNewError: a newer version wrote it.
        SpoolCorruptError: it can't even be opened.
        SpoolError: ``spool_not_there``, or ``spool_unreadable``.
    """
    path = directory / DATABASE_NAME
    _require_readable(path)
    with lock_of_existing(directory), closing(_connect(path)) as db:
        yield OfflineSpool(db, _version(db, path))


def _require_readable(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        raise _not_there(path.parent) from None
    except OSError as error:
        raise SpoolError(
            f"{path} can't be read: {error.strerror or error}.", code="spool_unreadable", remedy="Use sudo."
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    # Without a log nothing can change under a lock that we hold, so that not even a read-only medium is in the way.
    mode = "mode=rw" if has_log else "mode=ro&immutable=1"
    db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True, isolation_level=None, timeout=1.0)
    db.row_factory = sqlite3.Row
    return db


def _version(db: sqlite3.Connection, path: Path) -> int:
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA query_only = ON")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        tables = {row[0] for row in db.execute(NAMES_OF_TABLES)}
    except sqlite3.Error as error:
        raise as_spool_error(error, f"opening {path}") from error
    known = recognise(path, application, version, tables)
    if known == 0:
        raise _not_there(path.parent)
    return known


def _not_there(directory: Path) -> SpoolError:
    return SpoolError(
        f"There is no spool in {directory}.",
        code="spool_not_there",
        remedy="Name its directory, or the configuration that names it with --config.",
    )
