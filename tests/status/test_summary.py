"""A recording's story in one sentence, from the lines of its timeline."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Spool
from bota_gateway.status.summary import durations, sentence, times
from support.spooling import BOUND, SERIAL, TurnableClock, entry, meet, noise, settings_for, sha256, step_on

NINE = 1_790_067_600.0
"""A morning at 09:00 in UTC."""


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """Times as a hub in UTC tells them."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
async def spool(tmp_path: Path, clock: TurnableClock) -> AsyncIterator[Spool]:
    async with Spool.open(settings_for(tmp_path / "spool"), clock) as opened:
        yield opened


def at(clock: TurnableClock, minute: float) -> None:
    """The clock says so many minutes past nine."""
    clock.now = NINE + 60 * minute


async def listed(spool: Spool, clock: TurnableClock, started_at: int = int(NINE) + 120) -> Recording:
    """Recorded at 09:02, listed at 09:31."""
    at(clock, 31)
    (row,) = await meet(spool, entry(1, started_at=started_at))
    return row


async def captured(spool: Spool, clock: TurnableClock) -> Recording:
    """Received at 09:40."""
    row = await listed(spool, clock)
    at(clock, 40)
    data = noise(144_000)
    await spool.begin_receiving(row.id)
    await spool.store_audio(row.id, data)
    return await spool.capture(
        row.id,
        size_bytes=len(data),
        sha256=sha256(data),
        device_sha256=None,
        binding=BOUND,
        figures={"bytes_per_s": 61_000, "gaps": 0},
    )


async def told(spool: Spool, clock: TurnableClock, number: int) -> str:
    """The sentence now."""
    return sentence(await spool.recording(number), await spool.timeline(number), clock.now)


async def test_the_whole_story_in_one_sentence(spool: Spool, clock: TurnableClock) -> None:
    """From recorded to confirmed, with the transfer's figures; and nothing that has not happened yet."""
    row = await listed(spool, clock)
    assert await told(spool, clock, row.id) == "recorded 09:02 · listed 09:31"
    row = await captured(spool, clock)
    received = "recorded 09:02 · listed 09:31 · received 09:40, 144 kB at 61.0 kB/s, 0 gaps"
    assert await told(spool, clock, row.id) == received
    at(clock, 41)
    while row.state is not Custody.STORED:
        row = await step_on(spool, row)
    stored = f"{received} · uploaded 09:41 · verified 09:41"
    assert await told(spool, clock, row.id) == stored
    at(clock, 42)
    await spool.intend_confirm(row.id)
    assert await told(spool, clock, row.id) == f"{stored} · may be deleted there since 09:42"
    at(clock, 43)
    await spool.reconcile(SERIAL, [], complete=True)
    assert await told(spool, clock, row.id) == f"{stored} · confirmed 09:43"
    passed = times(await spool.recording(row.id), await spool.timeline(row.id))
    assert durations(passed) == {"received": 540, "uploaded": 60, "stored": 0, "confirmed": 120}


async def test_another_day_is_told_with_its_date(spool: Spool, clock: TurnableClock) -> None:
    """Where it changes, not in every part."""
    row = await captured(spool, clock)
    at(clock, 24 * 60)
    day = "09-22"
    assert (await told(spool, clock, row.id)).startswith(f"recorded {day} 09:02 · listed 09:31 · received 09:40,")


async def test_what_was_undone_is_not_told(spool: Spool, clock: TurnableClock) -> None:
    """The cloud lacked the bytes after all: they are not uploaded. Damaged here: it is not received."""
    row = await captured(spool, clock)
    at(clock, 41)
    row = await step_on(spool, await step_on(spool, row))
    assert "uploaded 09:41" in await told(spool, clock, row.id)
    at(clock, 42)
    await spool.back_to(row.id, Custody.CREATED, reason="the cloud lacks it")
    assert (await told(spool, clock, row.id)).endswith("0 gaps")
    await spool.back_to(row.id, Custody.LISTED, reason="damaged")
    assert await told(spool, clock, row.id) == "recorded 09:02 · listed 09:31"


async def test_what_nobody_knows_is_left_out(spool: Spool, clock: TurnableClock) -> None:
    """A recorder without a clock; a cloud that proves nothing; a recording that waits for a human."""
    row = await listed(spool, clock, started_at=0)
    assert await told(spool, clock, row.id) == "listed 09:31"
    await spool.park(row.id, code="device_error_0x14", detail="-")
    assert await told(spool, clock, row.id) == "listed 09:31 · parked for device_error_0x14"


async def test_without_proof_it_is_not_called_verified(spool: Spool, clock: TurnableClock) -> None:
    """The older generations of the cloud only say that they have it."""
    row = await captured(spool, clock)
    while row.state is not Custody.COMPLETING:
        row = await step_on(spool, row)
    row = await spool.stored(row.id, verified=False)
    assert (await told(spool, clock, row.id)).endswith("uploaded 09:40 · stored 09:40")
