"""Spools as earlier versions of the gateway left them."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bota_gateway.spool import setup
from bota_gateway.spool.const import APPLICATION_ID, DATABASE_NAME


@dataclass(frozen=True)
class Old:
    """A recording in a spool of version 1."""

    state: str
    captured: bool = True
    audio: bytes = b""


EXAMPLES = (
    Old("forgotten"),
    Old("forgotten", captured=False),
    Old("confirming"),
    Old("confirming", audio=b"a"),
    Old("captured"),
    Old("stored", audio=b"b"),
    Old("receiving", captured=False, audio=b"c"),
)


def make_version_1(directory: Path, recordings: Sequence[Old] = EXAMPLES) -> None:
    """A database as version 1 made it, with these recordings of one recorder."""
    directory.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(
        f"BEGIN; {setup.schema(1)}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; COMMIT;"
    )
    if recordings:
        database.execute(
            "INSERT INTO recorders (serial, address, first_seen_at, last_seen_at, last_visit_at)"
            " VALUES ('S', '', 5, 5, 5)"
        )
    for number, old in enumerate(recordings, start=1):
        database.execute(
            """
            INSERT INTO recordings (id, serial, file_id, started_at, take, duration_s, size_kib, encrypted_at_rest,
                state, sha256, size_bytes, listed_at, captured_at, stored_at, confirmed_at)
            VALUES (:id, 'S', printf('%08x', :id), 1, 0, 1, 1, 0, :state, iif(:captured, 'd', NULL),
                iif(:captured, 1, NULL), 2, 3, 4, iif(:state = 'forgotten', 5, NULL))
            """,
            {"id": number, "state": old.state, "captured": old.captured},
        )
        database.execute(
            "INSERT INTO timeline (recording_id, at, happened, detail) VALUES (?, 2, 'listed', '{}')", (number,)
        )
        if old.audio:
            database.execute("INSERT INTO audio (recording_id, number, data) VALUES (?, 0, ?)", (number, old.audio))
    database.close()
