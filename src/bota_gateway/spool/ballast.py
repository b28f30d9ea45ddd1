"""A file that is there only to be deleted: room for custody's last steps on a disk that others have filled.

Below ``spool.min_free_bytes`` no audio is taken any more, but logs and other programs may take the rest. Uploads would
then stop, for want of the few kilobytes that each step writes, and with them the only thing that makes room again.
"""

import os
from contextlib import suppress
from pathlib import Path

import structlog

from bota_gateway.spool.const import BALLAST_BYTES, BALLAST_NAME

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def take(directory: Path, free_bytes: int) -> None:
    """Have the ballast, if there is room for it and as much again; a disk that refuses goes without."""
    path = directory / BALLAST_NAME
    if path.exists() or free_bytes < 2 * BALLAST_BYTES:
        return
    with suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, BALLAST_BYTES)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(handle)


def drop(directory: Path) -> bool:
    """Give the ballast's room to custody; False when there is none left to give."""
    try:
        (directory / BALLAST_NAME).unlink()
    except OSError:
        return False
    log.warning("spool_ballast_dropped", bytes=BALLAST_BYTES)
    return True
