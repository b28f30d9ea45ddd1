import asyncio
import json
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Moment, Spool, Step
from bota_gateway.spool.const import BALLAST_NAME, DATABASE_NAME, LOCK_NAME, SCHEMA_VERSION
from bota_gateway.spool.custody import WITH_AUDIO
from support.spool_children import run_child
from support.spooling import TurnableClock, settings_for, sha256

pytestmark = pytest.mark.timeout(300)

Dump = list[tuple[Any, ...]]


def dump(directory: Path) -> Dump:
    """Everything in a spool that nobody has open, as another program reads it."""
    path = directory / DATABASE_NAME
    if not path.exists():
        return []
    database = sqlite3.connect(path)
    try:
        if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
            return []
        return [
            row
            for table in ("spool", "recorders", "recordings", "timeline", "audio")
            for row in database.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - names from the line above
        ]
    finally:
        database.close()


async def judge(directory: Path, *, whole: bool = True) -> None:
    """After a restart: nothing half done; if ``whole``, every capture has its bytes and everything else has none."""
    async with Spool.open(settings_for(directory), TurnableClock()) as spool:
        for row in await spool.recordings():
            if whole:
                await judge_recording(spool, row)
            assert row.state is not Custody.RECEIVING


async def judge_recording(spool: Spool, row: Recording) -> None:
    lines = await spool.timeline(row.id)
    if row.released_at is None and row.state in WITH_AUDIO | {Custody.CONFIRMED}:
        audio = b"".join([piece async for piece in spool.read_audio(row.id)])
        assert (len(audio), sha256(audio)) == (row.size_bytes, row.sha256)
        assert "captured" in {line.happened for line in lines}
    else:
        assert await spool._db.read("SELECT 1 FROM audio WHERE recording_id = ?", (row.id,)) == []
    if row.state is Custody.PARKED:
        why = ("forgotten_by_hand", "forgotten_by_hand") if row.cloud_id else ("device_error_0x14", "parked")
        assert (row.parked_reason, lines[-1].happened) == why


def test_a_kill_at_any_statement_of_a_migration_is_harmless(tmp_path: Path) -> None:
    """A new spool, or one of version 1, opens in the next life as if nothing had happened, with all that it had."""
    statements = run_child("migrations", tmp_path)
    assert sum("ALTER TABLE" in statement for statement in statements["old"]) == 3
    assert sum("user_version = " in statement for statement in statements["new"]) == SCHEMA_VERSION
    for kind, of_kind in statements.items():
        whole = dump(tmp_path / f"{kind}-whole")
        assert whole
        for number in range(len(of_kind)):
            directory = tmp_path / f"{kind}-{number:03}"
            asyncio.run(judge(directory, whole=False))
            assert dump(directory) == whole, of_kind[number]
            assert sorted(path.name for path in directory.iterdir()) == [BALLAST_NAME, DATABASE_NAME, LOCK_NAME]


def test_a_kill_at_any_moment_of_any_step_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    """SIGKILL at each moment of each transaction: what was committed is there, what was not has left no trace."""
    points = [(Step(step), Moment(moment)) for step, moment in run_child("crashes", tmp_path)]
    assert {step for step, _ in points} == set(Step), "the scenario has every step"
    dumps = [dump(tmp_path / f"{number:03}") for number in range(len(points))]
    for (before, after), (step, moment) in zip(pairwise(dumps), points[1:], strict=True):
        if moment is not Moment.COMMITTED:
            assert before == after, f"{step} left something at {moment}"
    committed = [
        json.dumps(found, default=bytes.hex)
        for found, (_, moment) in zip(dumps, points, strict=True)
        if moment is Moment.COMMITTED
    ]
    assert len(set(committed)) > len(Step), "commits are seen"
    for number in range(len(points)):
        asyncio.run(judge(tmp_path / f"{number:03}"))
