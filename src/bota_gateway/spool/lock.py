"""One gateway per spool: a lock on a file beside the database, held as long as the process lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bota_gateway.errors import SpoolError, SpoolLockedError, SpoolWriteError
from bota_gateway.spool.const import LOCK_NAME


@contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel lets go of it when the process ends, however it ends.

    The file stays: removing it would let two processes lock two files of the same name.

    Raises:
        SpoolLockedError: another process holds it; its process id is in the message.
        SpoolWriteError: the directory can't be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolWriteError(
            f"The spool's directory {directory} can't be written: {error.strerror or error}.",
            remedy="Check spool.directory and that the gateway's user owns it.",
        ) from error
    try:
        _lock(handle, directory)
        yield
    finally:
        os.close(handle)


@contextmanager
def lock_of_existing(directory: Path) -> Iterator[None]:
    """Hold the lock of a spool that is only looked at; where no gateway ever ran there is none, and none is made.

    Raises:
        SpoolLockedError: a gateway holds it.
        SpoolError: ``spool_unreadable``.
    """
    try:
        handle = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise SpoolError(
            f"The lock of the spool in {directory} can't be read: {error.strerror or error}.",
            code="spool_unreadable",
            remedy="Use sudo.",
        ) from error
    try:
        _take(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    _take(handle, directory)
    with suppress(OSError):  # the number only serves the message below; a full disk must not keep the gateway down
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)


def _take(handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise SpoolLockedError(f"The spool in {directory} is in use by process {holder}.") from error
