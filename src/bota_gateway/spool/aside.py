"""A damaged database is set aside, never deleted: a new spool begins, and recorders send again what they still hold.

What only the damaged one has stays in a directory beside the new database, where ``bota-gateway fsck`` judges it and
``bota-gateway export`` saves from it.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bota_gateway.errors import SpoolWriteError
from bota_gateway.spool.const import ASIDE_PREFIX, DATABASE_NAME, SUSPECT_NAME

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def mark_suspect(directory: Path, reason: str) -> None:
    """Have the next start set the database aside: SQLite has found it damaged while it was in use.

    The check at a start does not look at everything, because that takes minutes; so it must be told.
    """
    with suppress(OSError):  # a disk that refuses even this is the greater trouble, and is reported as such
        (directory / SUSPECT_NAME).write_text(reason + "\n", "utf-8")


def why_suspect(directory: Path) -> str | None:
    """Why the database must not be used again; None when nothing speaks against it."""
    try:
        return (directory / SUSPECT_NAME).read_text("utf-8", "replace").strip() or "it was found damaged"
    except OSError:
        return None


def set_aside(directory: Path, reason: str, now: float) -> Path:
    """Move the database with all that belongs to it into a directory of its own; give back that directory.

    Raises:
        SpoolWriteError: the disk refuses; whatever was moved is completed by :func:`finish` at the next start.
    """
    try:
        aside = _new_directory(directory, now)
        with suppress(OSError):  # a full disk must not keep the gateway down; the log says it, too
            (aside / "why.txt").write_text(reason + "\n", "utf-8")
        _move(directory, aside)
        size = (aside / DATABASE_NAME).stat().st_size
    except OSError as error:
        raise SpoolWriteError(
            f"The damaged spool in {directory} can't be set aside: {error.strerror or error}."
        ) from error
    log.error("spool_set_aside", path=str(aside), reason=reason, size=size)
    return aside


def finish(directory: Path, now: float) -> None:
    """Complete a setting aside that a crash cut off: a log without its database must not meet the next one.

    Raises:
        SpoolWriteError: the disk refuses.
    """
    if (directory / DATABASE_NAME).exists() or not _belongings(directory):
        return
    names = {path.name for path in _belongings(directory)}
    begun = [path for path in directories(directory) if not names & {kept.name for kept in path.iterdir()}]
    try:
        _move(directory, begun[-1] if begun else _new_directory(directory, now))
    except OSError as error:
        raise SpoolWriteError(f"Leftovers of a damaged spool in {directory} can't be moved: {error}.") from error


def directories(directory: Path) -> list[Path]:
    """Where damaged spools were set aside, in the order in which that happened."""
    return sorted(directory.glob(f"{ASIDE_PREFIX}*"), key=lambda path: path.stat().st_ctime_ns)


def _new_directory(directory: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    for attempt in range(1, 1000):  # a hub without a clock has the same time at every start
        path = directory / (f"{ASIDE_PREFIX}{stamp}" if attempt == 1 else f"{ASIDE_PREFIX}{stamp}-{attempt}")
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path
    raise FileExistsError(f"a thousand directories {ASIDE_PREFIX}{stamp}")


def _belongings(directory: Path) -> list[Path]:
    """The database first: as long as it is in place, what goes with it must be too."""
    return sorted(directory.glob(f"{DATABASE_NAME}*")) + [path for path in (directory / SUSPECT_NAME,) if path.exists()]


def _move(source: Path, target: Path) -> None:
    for path in _belongings(source):
        path.rename(target / path.name)
        _sync(target)
        _sync(source)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
