"""How strongly a recorder is heard when its visit is over, kept with the visit's transfers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.errors import SpoolFullError, SpoolWriteError
from bota_gateway.model import Custody
from bota_gateway.radio import PRESENT_S
from bota_gateway.radio.const import STALE_S
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import Spool
from bota_gateway.spool.custody import Happened
from support.sync_hub import SyncHub, hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
NOTED = "spool note_signal"
BEFORE, AFTER = -55, -81
VISIT_S = 600.0
"""More than until any visit of these tests."""


async def ended(hub: SyncHub, *, failed: bool = False) -> list[dict[str, Any]]:
    """The figures of transfers that ended, the newest last."""
    ends = Happened.RECEIVING_ABANDONED if failed else Happened.CAPTURED
    found = await hub.spool.transfers(0, at_most=100)
    return [dict(line.detail) for _, line in reversed(found) if line.happened == ends]


async def noted(hub: SyncHub, count: int = 1) -> None:
    await hub.until(lambda: hub.effects.count(NOTED) >= count, within=VISIT_S + PRESENT_S)


async def over(hub: SyncHub, visits: int = 1) -> None:
    """Wait until so many visits are over, and their links."""
    await hub.until(lambda: hub.effects.count("spool schedule_visit") >= visits)


async def transferring(recorder: SimRecorder, transfers: int = 1) -> None:
    await recorder.wait_until(lambda: len(recorder.seen.transfers) >= transfers)


async def test_a_recorder_that_went_away_during_a_transfer_shows(tmp_path: Path) -> None:
    """The figures have its signal before the link and after it, of the try that failed and of the one that did not."""
    air = VirtualRadio(bytes_per_s=60_000)
    air.set_rssi(SERIAL, "hci0", BEFORE)
    faults = Faults(Fault(FaultKind.DROP, at=3))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1), stored(2)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await transferring(recorder)
        air.set_rssi(SERIAL, "hci0", AFTER)
        await noted(hub)
        told = [*await ended(hub, failed=True), *await ended(hub)]
        assert [(one["rssi"], one["rssi_end"]) for one in told] == [(BEFORE, AFTER)] * 3
        assert hub.effects.count(NOTED) == 1


async def test_a_visit_that_failed_keeps_it_too(tmp_path: Path) -> None:
    """A link that was lost is the one whose signal somebody wants to know."""
    air = VirtualRadio(bytes_per_s=60_000)
    air.set_rssi(SERIAL, "hci0", BEFORE)
    faults = Faults(Fault(FaultKind.DISCONNECT, at=3))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await transferring(recorder)
        air.set_rssi(SERIAL, "hci0", AFTER)
        await hub.waiting_for(SERIAL, "radio_link_lost")
        await noted(hub)
        (lost,) = await ended(hub, failed=True)
        assert (lost["code"], lost["rssi"], lost["rssi_end"]) == ("radio_link_lost", BEFORE, AFTER)


async def test_each_visit_has_its_own(tmp_path: Path) -> None:
    """What is heard after the second changes nothing of the first."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder, hub_with(tmp_path, air) as hub:
        await transferring(recorder)
        air.set_rssi(SERIAL, "hci0", AFTER)
        await noted(hub)
        recorder.add(stored(2))
        await transferring(recorder, 2)
        air.set_rssi(SERIAL, "hci0", BEFORE)
        await noted(hub, 2)
        assert [(one["rssi"], one["rssi_end"]) for one in await ended(hub)] == [(-60, AFTER), (AFTER, BEFORE)]


async def test_a_visit_without_transfers_notes_nothing(tmp_path: Path) -> None:
    """There is no line that it could go to."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL), hub_with(tmp_path, air) as hub:
        await hub.visited(SERIAL)
        await asyncio.sleep(STALE_S + PRESENT_S)
        assert NOTED not in hub.effects


async def test_a_recorder_that_is_not_heard_soon_leaves_no_figure(tmp_path: Path) -> None:
    """One that comes back later is heard somewhere else."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]), hub_with(tmp_path, air) as hub:
        await over(hub)
        air.set_silent(SERIAL, True)
        await asyncio.sleep(PRESENT_S + 1)
        air.set_silent(SERIAL, False)
        await asyncio.sleep(STALE_S + 15)
        (one,) = await ended(hub)
        assert "rssi_end" not in one
        assert NOTED not in hub.effects


async def test_it_is_the_links_own_adapter_that_hears(tmp_path: Path) -> None:
    """What another one hears says nothing of the antenna that carried the transfer."""
    air = VirtualRadio(bytes_per_s=60_000)
    air.set_rssi(SERIAL, "near", -50)
    air.set_rssi(SERIAL, "far", None)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder,
        hub_with(tmp_path, air, adapters=("near", "far")) as hub,
    ):
        await transferring(recorder)
        air.set_rssi(SERIAL, "far", -40)
        await over(hub)
        air.set_rssi(SERIAL, "near", None)
        await asyncio.sleep(PRESENT_S / 2)
        assert NOTED not in hub.effects
        air.set_rssi(SERIAL, "near", AFTER)
        await noted(hub)
        (one,) = await ended(hub)
        assert (one["adapter"], one["rssi"], one["rssi_end"]) == ("near", -50, AFTER)


async def test_nobody_waits_for_it(tmp_path: Path) -> None:
    """A recorder that is due is visited again, and a stop comes at once, while nothing was heard yet."""
    air = VirtualRadio(bytes_per_s=60_000)
    clock = asyncio.get_running_loop().time
    air.set_rssi(SERIAL, "first", -50)
    air.set_rssi(SERIAL, "second", -70)
    faults = Faults(Fault(FaultKind.DISCONNECT, at=3))
    visits = {"interval_s": 5.0}
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder:
        async with hub_with(tmp_path, air, adapters=("first", "second"), visits=visits) as hub:
            await transferring(recorder)
            air.set_rssi(SERIAL, "first", None)
            await hub.all_in(Custody.CONFIRMED)
            (lost,) = await ended(hub, failed=True)
            (good,) = await ended(hub)
            assert (lost["adapter"], good["adapter"]) == ("first", "second")
            assert "rssi_end" not in lost
            await over(hub, 2)
            stopped_at = clock()
        assert clock() - stopped_at < STALE_S


async def test_a_clock_that_is_set_meanwhile_does_no_harm(tmp_path: Path) -> None:
    """Which lines it belongs to is not a matter of time."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]), hub_with(tmp_path, air) as hub:
        await over(hub)
        hub.wall_offset[0] = -86_400.0
        await noted(hub)
        assert [one["rssi_end"] for one in await ended(hub)] == [-60]


async def test_a_full_spool_costs_the_figure_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounds go on: the next recording is pulled."""
    air = VirtualRadio(bytes_per_s=60_000)
    tried = asyncio.Event()

    async def refuse(*_args: object) -> None:
        tried.set()
        raise SpoolFullError("No room.")

    monkeypatch.setattr(Spool, "note_signal", refuse)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder, hub_with(tmp_path, air) as hub:
        async with asyncio.timeout(VISIT_S):
            await tried.wait()
        recorder.add(stored(2))
        await hub.all_in(Custody.CONFIRMED, count=2)


async def test_lost_durability_is_for_the_daemon_to_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it shows here first."""
    air = VirtualRadio(bytes_per_s=60_000)

    async def refuse(*_args: object) -> None:
        raise SpoolWriteError("The disk said no.")

    monkeypatch.setattr(Spool, "note_signal", refuse)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]):
        with pytest.raises(ExceptionGroup) as caught:
            async with hub_with(tmp_path, air):
                await asyncio.sleep(VISIT_S)
        assert caught.value.subgroup(SpoolWriteError) is not None
