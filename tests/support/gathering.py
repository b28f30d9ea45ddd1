"""Gathers evidence for the judge from the parts that run in this process, and from files."""

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


LOG_HEADER_BYTES = 32


def held_by(serial: str, stored: StoredRecording, wearer: str | None = None) -> Held:
    """A recorder's recording as evidence."""
    return Held(serial, stored.file_id, stored.started_at, stored.sha256, wearer, sealed=stored.p10)


def cloud_copies(cloud: EmulatedCloud) -> list[CloudCopy]:
    """Every recording of the emulated cloud, its object's digest taken from the bytes on disk."""
    return [copy_of(asdict(made), digest_of(cloud.object_path(made.id))) for made in cloud.recordings.values()]


def copies_in(state: Mapping[str, Any]) -> list[CloudCopy]:
    """The same of a cloud in another process, from what it says of itself (``GET /_sim/state``)."""
    objects = {stored["key"]: stored for stored in state["objects"]}
    return [copy_of(made, _newest(made, objects)) for made in state["recordings"]]


def _newest(made: Mapping[str, Any], objects: Mapping[str, Any]) -> str | None:
    stored = [objects[upload["key"]] for upload in made["uploads"] if upload["key"] in objects]
    return max(stored, key=lambda one: int(one["version"]))["sha256"] if stored else None


def copy_of(made: Mapping[str, Any], stored_sha256: str | None) -> CloudCopy:
    """A recording of the emulated cloud as evidence."""
    metadata = made["facts"].get("metadata") or {}
    return CloudCopy(
        id=made["id"],
        status=str(made["status"]),
        complete=made["status"] not in UPLOADABLE,
        end_user_id=made["end_user_id"],
        serial=_text(metadata.get("serial_number")),
        file_id=_text(metadata.get("device_file_id")),
        started_at=_number(metadata.get("started_at")),
        said_sha256=_text(metadata.get("sha256")),
        stored_sha256=stored_sha256,
    )


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
    """Only what SQLite needs, as it was at one moment, though a gateway in another process goes on writing.

    What a checkpoint writes into the database meanwhile stands in the log, too, as long as that is not begun anew.
    """
    database, log = SPOOL_FILES
    while True:
        began = _head_of(source / log)
        for name in (database, log):
            (target / name).unlink(missing_ok=True)
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
        if _head_of(source / log) == began:
            return


def _head_of(log: Path) -> bytes:
    """The header of SQLite's log, which changes whenever that begins anew (sqlite.org/fileformat2.html, 4.1)."""
    try:
        with log.open("rb") as file:
            return file.read(LOG_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def on_disk(directory: Path, serial: str, file_id: str) -> tuple[OnDisk, ...]:
    """The rows that a restart at this moment would find, read from a copy by SQLite alone."""
    with _copied(directory) as database:
        rows = database.execute(
            "SELECT state, sha256 FROM recordings WHERE serial = ? AND file_id = ? ORDER BY take", (serial, file_id)
        ).fetchall()
    return tuple(OnDisk(Custody(state), sha256) for state, sha256 in rows)


def states_on_disk(directory: Path) -> list[Custody]:
    """The state of every recording that a restart at this moment would find; none where there is no spool yet."""
    with _copied(directory) as database:
        try:
            return [Custody(state) for (state,) in database.execute("SELECT state FROM recordings")]
        except sqlite3.OperationalError:
            return []  # its tables were not made yet


@contextmanager
def _copied(directory: Path) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        copy_database(directory, Path(temporary))
        with closing(sqlite3.connect(Path(temporary, DATABASE_NAME))) as database:
            yield database


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
