"""Stored objects: files on disk, written beside and renamed into place, durable before they are answered for."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self
from urllib.parse import quote

from bota_gateway.model import WallClock

READ_BYTES: Final = 1 << 20
"""Piece in which stored bytes are read again; memory does not grow with an object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What is known of one object besides its bytes."""

    key: str
    size: int
    etag: str
    content_type: str
    stored_at: float
    version: int
    """Rises with every PUT of the bucket, so that an overwritten object is told from its predecessor."""


class ObjectStore:
    """The bucket."""

    def __init__(self, directory: Path, now: WallClock) -> None:
        self._directory = directory
        self._now = now
        self._objects: dict[str, StoredObject] = {}
        self._versions = 0
        directory.mkdir(parents=True, exist_ok=True)

    def restore(self, objects: list[StoredObject]) -> None:
        """Takes over what an earlier life of the emulator stored."""
        self._objects = {stored.key: stored for stored in objects if self.path(stored.key).is_file()}
        self._versions = max((stored.version for stored in objects), default=0)

    def all(self) -> list[StoredObject]:
        """Every object, in order of its key."""
        return [self._objects[key] for key in sorted(self._objects)]

    def get(self, key: str) -> StoredObject | None:
        """An object's facts, or None when nothing is stored under the key."""
        return self._objects.get(key)

    def path(self, key: str) -> Path:
        """The file that holds, or would hold, the object. One flat name, so that no key leads out or meets another."""
        return self._directory / f"{quote(key, safe='')}.object"

    async def sha256(self, key: str) -> str:
        """Digest of the bytes on disk as they are now, read anew each time."""
        return await asyncio.to_thread(_sha256_of, self.path(key))

    def remove(self, key: str) -> None:
        """Deletes an object; nothing happens when there is none."""
        self._objects.pop(key, None)
        self.path(key).unlink(missing_ok=True)

    def incoming(self, key: str, content_type: str) -> "IncomingObject":
        """Opens an object for writing; it exists only after ``commit``."""
        return IncomingObject(self, key, content_type)

    async def publish(self, incoming: "IncomingObject") -> StoredObject:
        """Makes a written file the object: file synced, renamed, directory synced."""
        target = self.path(incoming.key)
        await asyncio.to_thread(_publish, incoming.file, Path(incoming.file.name), target)
        self._versions += 1
        stored = StoredObject(
            incoming.key, incoming.size, incoming.etag, incoming.content_type, self._now(), self._versions
        )
        self._objects[incoming.key] = stored
        return stored

    def open_temporary(self) -> BinaryIO:
        """A file beside the objects, so that a rename can publish it."""
        return tempfile.NamedTemporaryFile(dir=self._directory, suffix=".incoming", delete=False)  # type: ignore[return-value]  # typeshed's wrapper is no BinaryIO by name


class IncomingObject:
    """One object while it arrives. Use as ``with``; without ``commit`` nothing remains."""

    def __init__(self, store: ObjectStore, key: str, content_type: str) -> None:
        self.key = key
        self.content_type = content_type
        self.size = 0
        self._store = store
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self.file = store.open_temporary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        Path(self.file.name).unlink(missing_ok=True)

    @property
    def etag(self) -> str:
        """Quoted MD5, as S3 gives for a plain PUT."""
        return f'"{self._md5.hexdigest()}"'

    @property
    def md5(self) -> bytes:
        """Of what was received, for Content-MD5."""
        return self._md5.digest()

    @property
    def sha256(self) -> bytes:
        """Of what was received, for x-amz-checksum-sha256."""
        return self._sha256.digest()

    def write(self, data: bytes) -> None:
        """Appends received bytes."""
        self._md5.update(data)
        self._sha256.update(data)
        self.file.write(data)
        self.size += len(data)

    def flip_bit(self, at: int) -> None:
        """Rots the file behind the digests' back: bit ``at`` of the bytes written so far."""
        byte, bit = divmod(at, 8)
        self.file.flush()
        with Path(self.file.name).open("r+b") as file:
            file.seek(byte)
            value = file.read(1)[0]
            file.seek(byte)
            file.write(bytes([value ^ (1 << bit)]))

    async def commit(self) -> StoredObject:
        """Publishes the object, durably."""
        return await self._store.publish(self)


def _publish(file: BinaryIO, temporary: Path, target: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces of ``READ_BYTES``."""
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            yield piece
