import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, Custody, Membership
from bota_gateway.spool import Spool
from support.spooling import BOUND, SERIAL, TurnableClock, bring_to


async def met(spool: Spool, serial: str = SERIAL) -> None:
    await spool.note_recorder(serial, address="C0:FF:EE:00:00:01", name="Bota Pin", rssi=-50, firmware="1.2.3")


async def test_a_recorder_is_remembered(spool: Spool, clock: TurnableClock) -> None:
    """Address, name, signal and firmware of the last meeting are kept; what was not read this time stays."""
    await met(spool)
    first = clock.now
    clock.now += 10
    record = await spool.note_recorder(SERIAL, address="C0:FF:EE:00:00:02", name=None, rssi=None)
    assert record == await spool.recorder(SERIAL)
    assert (record.address, record.name, record.rssi, record.firmware) == (
        "C0:FF:EE:00:00:02",
        "Bota Pin",
        -50,
        "1.2.3",
    )
    assert (record.first_seen_at, record.last_seen_at) == (first, clock.now)
    assert record.binding == Binding(Membership.UNRESOLVED)


async def test_its_status_is_remembered(spool: Spool) -> None:
    """What the status characteristic said can be shown between visits."""
    await met(spool)
    await spool.note_status(
        SERIAL,
        battery_percent=77,
        charging=True,
        pending=3,
        recording_now=True,
        storage_used_mb=10,
        storage_total_mb=100,
    )
    record = await spool.recorder(SERIAL)
    assert (record.battery_percent, record.charging, record.pending, record.recording_now) == (77, True, 3, True)
    assert (record.storage_used_mb, record.storage_total_mb) == (10, 100)


async def test_visits_are_scheduled_and_failures_counted(spool: Spool, clock: TurnableClock) -> None:
    """Failed visits add up until one goes well; the reason is there to be shown."""
    await met(spool)
    for _ in range(2):
        await spool.schedule_visit(
            SERIAL, next_visit_at=clock.now + 60, waiting_for="radio_connect_gone", waiting_detail="-", failed=True
        )
    record = await spool.recorder(SERIAL)
    assert (record.attempts, record.waiting_for, record.last_visit_at) == (2, "radio_connect_gone", None)
    await spool.schedule_visit(SERIAL, next_visit_at=clock.now + 300, visited=True)
    record = await spool.recorder(SERIAL)
    assert (record.attempts, record.waiting_for, record.last_visit_at) == (0, None, clock.now)
    assert record.next_visit_at == clock.now + 300


async def ask_to_bind(spool: Spool) -> None:
    await spool.bind("NOBODY", BOUND)


async def ask_to_schedule(spool: Spool) -> None:
    await spool.schedule_visit("NOBODY", next_visit_at=None)


async def ask_to_note_status(spool: Spool) -> None:
    await spool.note_status("NOBODY", battery_percent=1, charging=None, pending=None, recording_now=False)


async def ask_for_it(spool: Spool) -> None:
    await spool.recorder("NOBODY")


@pytest.mark.parametrize("ask", [ask_to_bind, ask_to_schedule, ask_to_note_status, ask_for_it])
async def test_an_unknown_recorder_is_an_error(spool: Spool, ask: Callable[[Spool], Awaitable[None]]) -> None:
    """Each of these needs a recorder that was met."""
    with pytest.raises(SpoolError) as caught:
        await ask(spool)
    assert caught.value.error_code == "spool_unknown_recorder"


async def test_a_hostile_serial_is_only_text(spool: Spool) -> None:
    """Serials go into queries as values."""
    serial = "'; DROP TABLE recordings; --\x00\u202e/../.."
    await met(spool, serial)
    assert [record.serial for record in await spool.recorders()] == [serial]


async def test_whoever_waits_for_a_change_wakes_up(spool: Spool) -> None:
    """Sync and upload sleep until something happens in the spool, without asking over and over."""
    before = spool.revision
    waiting = asyncio.create_task(spool.wait_for_change(before))
    await asyncio.sleep(0)
    assert not waiting.done()
    await met(spool)
    assert await waiting > before
    assert await spool.wait_for_change(before) == spool.revision


async def test_arriving_bytes_wake_nobody(spool: Spool) -> None:
    """Each quarter megabyte would otherwise wake the uploader for nothing."""
    row = await bring_to(spool, Custody.RECEIVING)
    before = spool.revision
    await spool.store_audio(row.id, bytes(1 << 20))
    assert spool.revision == before
