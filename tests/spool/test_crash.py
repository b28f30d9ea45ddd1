import asyncio
import json
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Moment, Spool, Step
from bota_gateway.spool.const import DATABASE_NAME
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
            for table in ("recorders", "recordings", "timeline", "audio")
            for row in database.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - names from the line above
        ]
    finally:
        database.close()


async def judge(directory: Path) -> None:
    """After a restart: nothing half done, every capture whole, everything else without bytes."""
    async with Spool.open(settings_for(directory), TurnableClock()) as spool:
        for row in await spool.recordings():
            await judge_recording(spool, row)


async def judge_recording(spool: Spool, row: Recording) -> None:
    assert row.state is not Custody.RECEIVING
    lines = await spool.timeline(row.id)
    if row.released_at is None and row.state in WITH_AUDIO | {Custody.CONFIRMED}:
        audio = b"".join([piece async for piece in spool.read_audio(row.id)])
        assert (len(audio), sha256(audio)) == (row.size_bytes, row.sha256)
        assert "captured" in {line.happened for line in lines}
    else:
        assert await spool._db.read("SELECT 1 FROM audio WHERE recording_id = ?", (row.id,)) == []
    if row.state is Custody.PARKED:
        assert (row.parked_reason, lines[-1].happened) == ("device_error_0x14", "parked")


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
