"""Gathers evidence for the judge from the parts that run in this process, and from files."""

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import GatewayError, SpoolCorruptError
from bota_gateway.model import Custody, RecorderRecord, Recording, TimelineEntry, WallClock
from bota_gateway.sim.cloud import EmulatedCloud
from bota_gateway.sim.cloud.world import UPLOADABLE
from bota_gateway.sim.options import StoredRecording
from bota_gateway.spool import Spool
from bota_gateway.spool.const import DATABASE_NAME
from bota_gateway.status.server import Answer
from support.evidence import CloudCopy, Held, OnDisk

SPOOL_FILES = (DATABASE_NAME, f"{DATABASE_NAME}-wal")
"""What a killed gateway leaves; the log of shared memory does not exist, as the spool locks others out."""


def held_by(serial: str, stored: StoredRecording, wearer: str | None = None) -> Held:
    """A recorder's recording as evidence."""
    return Held(serial, stored.file_id, stored.started_at, stored.sha256, wearer, sealed=stored.p10)


def cloud_copies(cloud: EmulatedCloud) -> list[CloudCopy]:
    """Every recording of the emulated cloud, its object's digest taken from the bytes on disk."""
    return [
        CloudCopy(
            id=made.id,
            status=made.status.value,
            complete=made.status not in UPLOADABLE,
            end_user_id=made.end_user_id,
            serial=_text(made.metadata.get("serial_number")),
            file_id=_text(made.metadata.get("device_file_id")),
            started_at=_number(made.metadata.get("started_at")),
            said_sha256=_text(made.metadata.get("sha256")),
            stored_sha256=digest_of(cloud.object_path(made.id)),
        )
        for made in cloud.recordings.values()
    ]


def is_in(cloud: EmulatedCloud, stored: StoredRecording) -> bool:
    """Whether the cloud has exactly these bytes, uploaded to the end, now."""
    return any(
        made.status not in UPLOADABLE and digest_of(cloud.object_path(made.id)) == stored.sha256
        for made in cloud.recordings.values()
    )


def digest_of(path: Path | None) -> str | None:
    """SHA-256 of a file; None when there is none."""
    if path is None:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_spool(source: Path, target: Path) -> None:
    """The directory as a SIGKILL at this moment would leave it: what was written is in the kernel's hands."""
    shutil.copytree(source, target)


def copy_database(source: Path, target: Path) -> None:
    """Only what SQLite needs."""
    for name in SPOOL_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def on_disk(directory: Path, serial: str, file_id: str) -> tuple[OnDisk, ...]:
    """The rows that a restart at this moment would find, read from a copy by SQLite alone."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        copy_database(directory, Path(temporary))
        database = sqlite3.connect(Path(temporary, DATABASE_NAME))
        try:
            rows = database.execute(
                "SELECT state, sha256 FROM recordings WHERE serial = ? AND file_id = ? ORDER BY take", (serial, file_id)
            ).fetchall()
        finally:
            database.close()
    return tuple(OnDisk(Custody(state), sha256) for state, sha256 in rows)


@dataclass(frozen=True, slots=True)
class SpoolFacts:
    """What a reopened spool says."""

    rows: list[Recording]
    audio: dict[int, str | None]
    timelines: dict[int, list[TimelineEntry]]
    recorders: list[RecorderRecord]


async def spool_facts(settings: SpoolSettings, now: WallClock) -> SpoolFacts:
    """Open the spool, read everything, and close it."""
    async with Spool.open(settings, now) as spool:
        rows = await spool.recordings()
        return SpoolFacts(
            rows=rows,
            audio={row.id: await _audio_digest(spool, row) for row in rows},
            timelines={row.id: await spool.timeline(row.id) for row in rows},
            recorders=await spool.recorders(),
        )


async def _audio_digest(spool: Spool, row: Recording) -> str | None:
    """Of the bytes as they are, whatever the row says."""
    try:
        pieces = await spool._db.read_immutable(
            "SELECT data FROM audio WHERE recording_id = ? ORDER BY number", (row.id,)
        )
    except SpoolCorruptError as damage:
        return str(damage)
    return hashlib.sha256(b"".join(piece["data"] for piece in pieces)).hexdigest() if pieces else None


async def diagnostics(ask: Answer, rows: list[Recording]) -> dict[str, bytes]:
    """What a running gateway answers to every question about it, by the question; refusals are answers, too."""
    questions: list[dict[str, object]] = [{"ask": "status"}, {"ask": "recorders"}, {"ask": "recordings"}]
    questions += [{"ask": "timeline", "recording": str(row.key)} for row in rows]
    answers = {}
    for question in questions:
        try:
            answer = json.dumps(await ask(question))
        except GatewayError as refused:
            answer = str(refused)
        answers[f"answer to {' '.join(map(str, question.values()))}"] = answer.encode()
    return answers


def files_of(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a directory, by its name in it."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(directory)), path.read_bytes()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
