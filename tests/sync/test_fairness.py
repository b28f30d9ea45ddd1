"""Recorders that misbehave for ever take nobody else's turn."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import RecorderOptions, ResultsOn
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.sync_hub import SyncHub, hub_with, stored

pytestmark = pytest.mark.virtual_time

BAD = [f"BAD000000{number}" for number in (1, 2, 3)]
GOOD = [f"PIN000000{number}" for number in range(1, 8)]
RARELY = RecorderOptions(advertising_interval_s=2.0)
WITHIN_S = 1800.0
"""For the recordings of all seven, in whatever way three others misbehave."""

Bad = Callable[[VirtualRadio, str, int], SimRecorder]


def stalls(air: VirtualRadio, serial: str, number: int) -> SimRecorder:
    """Answers nothing from some request on."""
    faults = Faults(Fault(FaultKind.GATT_STALL, at=5 + 15 * number, seconds=math.inf, times=None))
    return SimRecorder(air, serial=serial, recordings=[stored(90)], faults=faults, options=RARELY)


def trickles(air: VirtualRadio, serial: str, number: int) -> SimRecorder:
    """Sends hours of audio slower than it was recorded."""
    air.set_pace(1_500, serial)
    held = stored(90 + number, size=20_000_000)
    return SimRecorder(air, serial=serial, recordings=[held], options=RARELY)


def never_ends(air: VirtualRadio, serial: str, _number: int) -> SimRecorder:
    """Goes on sending, and heeds no abort."""
    options = replace(RARELY, results_on=ResultsOn.RECORDING_TRANSFER)
    held = [stored(90 + number) for number in range(4)]
    return SimRecorder(
        air, serial=serial, recordings=held, options=options, faults=Faults(Fault(FaultKind.ENDLESS, times=None))
    )


def says_nothing(air: VirtualRadio, serial: str, number: int) -> SimRecorder:
    """Lists, and gives none of it; or hangs up at each."""
    kind = (FaultKind.NO_DATA, FaultKind.DISCONNECT, FaultKind.NO_EOF)[number]
    held = [stored(90 + each) for each in range(9)]
    faults = Faults(Fault(kind, at=1, times=None))
    return SimRecorder(air, serial=serial, recordings=held, faults=faults, options=RARELY)


async def good_done(hub: SyncHub) -> bool:
    """Whether everything that the good ones had is stored and deleted there."""
    rows = [row for row in await hub.spool.recordings() if row.key.serial in GOOD]
    return len(rows) == 2 * len(GOOD) and {row.state for row in rows} == {Custody.CONFIRMED}


@pytest.mark.parametrize("max_links", [1, 3])
@pytest.mark.parametrize("bad", [stalls, trickles, never_ends, says_nothing], ids=lambda bad: bad.__name__)
async def test_seven_are_served_beside_three_that_misbehave(tmp_path: Path, bad: Bad, max_links: int) -> None:
    """Even if the three were there first and there is but one link: bounded, and every wait has its reason and time."""
    air = VirtualRadio(bytes_per_s=60_000)
    wild = [bad(air, serial, number) for number, serial in enumerate(BAD)]
    good = [
        SimRecorder(air, serial=serial, recordings=[stored(10 * number), stored(10 * number + 1)], options=RARELY)
        for number, serial in enumerate(GOOD, start=1)
    ]
    visits = {"at_most_s": 300}
    wire = {} if bad is trickles else {"max_recording_bytes": 1 << 20}
    async with hub_with(tmp_path, air, radio={"max_links": max_links}, wire=wire, visits=visits) as hub:
        try:
            for one in wild:
                await one.start()
            await wild[0].wait_until(lambda: wild[0].connected)
            for one in good:
                await one.start()
            await hub.until(lambda: good_done(hub), within=WITHIN_S)
            for record in await hub.spool.recorders():
                busy = any(link.serial == record.serial for link in hub.rounds.links)
                assert busy or record.next_visit_at is not None
                assert record.waiting_for is None or record.waiting_detail
        finally:
            for one in (*wild, *good):
                await one.stop()
