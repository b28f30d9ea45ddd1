"""Slow transfers: no link is held for ever, and no recording is too big for a slow link."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bota_gateway.config import RadioSettings, Settings, VisitSettings
from bota_gateway.model import Binding, CaptureKey, Custody, Membership, Recording
from bota_gateway.protocol.device_status import DeviceState
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.sync.patience import Patience
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
ONE, TWO = "00000001", "00000002"
VISITS = {"at_most_s": 60, "interval_s": 60}


def row(attempts: int) -> Recording:
    """A listed recording that failed so often."""
    return Recording(
        id=1,
        key=CaptureKey(SERIAL, ONE, 1),
        take=0,
        duration_s=1,
        size_kib=1,
        encrypted_at_rest=False,
        state=Custody.LISTED,
        size_bytes=None,
        sha256=None,
        device_sha256=None,
        binding=Binding(Membership.BOUND),
        idempotency_key=None,
        create_intended_at=None,
        cloud_id=None,
        verified=None,
        attempts=attempts,
        next_attempt_at=None,
        waiting_for=None,
        waiting_detail=None,
        parked_reason=None,
        parked_from=None,
        listed_at=0.0,
        captured_at=None,
        stored_at=None,
        confirmed_at=None,
    )


def settings(max_links: int) -> Settings:
    """With a minute for a first try."""
    return Settings(visits=VisitSettings(at_most_s=60), radio=RadioSettings(max_links=max_links))


def seconds_of_visits(lines: Iterable[Mapping[str, Any]]) -> list[float]:
    """How long each visit that did not fail took, as the log tells it."""
    return [float(line["seconds"]) for line in lines if line["event"] == "visit_ended"]


async def test_a_big_recording_over_a_slow_link_arrives_all_the_same(tmp_path: Path) -> None:
    """Version 1 can't resume: each try gets twice the time of the one before, until one is long enough."""
    air = VirtualRadio(bytes_per_s=2_000)
    held = stored(1, size=300_000)
    with capture_logs() as lines:
        async with (
            SimRecorder(air, serial=SERIAL, recordings=[held]) as recorder,
            hub_with(tmp_path, air, visits=VISITS) as hub,
        ):
            (recording,) = await hub.all_in(Custody.CONFIRMED)
            assert await hub.audio(recording.id) == held.data
            assert recorder.seen.starts == [ONE] * 3
            await hub.visited(SERIAL, since=hub.now() - 1)
    failed = [line["code"] for line in lines if line["event"] == "transfer_failed"]
    assert failed == ["transfer_too_slow"] * 2
    first, second, _ = (seconds for seconds in seconds_of_visits(lines) if seconds > 30)
    assert 60 < first < 75
    assert 120 < second < 135


async def test_a_transfer_at_a_good_pace_goes_to_its_end(tmp_path: Path) -> None:
    """Faster than audio is recorded: however long it takes, it is not cut off."""
    air = VirtualRadio(bytes_per_s=6_000)
    held = stored(1, size=1_000_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held]) as recorder,
        hub_with(tmp_path, air, visits=VISITS) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.starts == [ONE]


async def test_a_recording_in_progress_does_not_hold_the_link(tmp_path: Path) -> None:
    """The recorder says that it records, and pauses: left at once, the others are served, and it is fetched later."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.PAUSE, recording=ONE, at=3, seconds=math.inf))
    held = [stored(1), stored(2)]
    with capture_logs() as lines:
        async with (
            SimRecorder(air, serial=SERIAL, recordings=held, faults=faults) as recorder,
            hub_with(tmp_path, air) as hub,
        ):
            recorder.condition.state = DeviceState.RECORDING
            await hub.visited(SERIAL)
            first, second = await hub.spool.recordings()
            assert (first.state, first.waiting_for) == (Custody.LISTED, "transfer_still_recording")
            assert first.next_attempt_at is not None
            assert second.state is Custody.CONFIRMED
            assert [result.opcode.name for result in recorder.seen.results] == ["ABORT", "ACK"]
            recorder.condition.state = DeviceState.IDLE
            await hub.all_in(Custody.CONFIRMED, count=2)
    assert seconds_of_visits(lines)[0] < 10


async def test_a_recorder_that_only_pauses_is_left_after_a_while(tmp_path: Path) -> None:
    """Each pause is short enough to be waited for, and there is no end to them: the time for slow transfers ends it."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.PAUSE, recording=ONE, rate=1.0, seconds=5, times=None))
    with capture_logs() as lines:
        async with (
            SimRecorder(air, serial=SERIAL, recordings=[stored(1, size=100_000), stored(2)], faults=faults),
            hub_with(tmp_path, air, visits=VISITS) as hub,
        ):
            await hub.visited(SERIAL)
            first, second = await hub.spool.recordings()
            assert (first.state, first.waiting_for) == (Custody.LISTED, "transfer_too_slow")
            assert second.state is Custody.LISTED
            await hub.until(lambda: hub.spool.recordings(states={Custody.CONFIRMED}))
            assert (await hub.states())[TWO] is Custody.CONFIRMED
    assert seconds_of_visits(lines)[0] < 75


@pytest.mark.parametrize(("max_links", "second"), [(1, 240.0), (3, 60.0)])
def test_one_link_at_a_time_is_held_for_a_long_try(max_links: int, second: float) -> None:
    """Long tries leave the other links of an adapter to others; where there is one link, there is nothing to leave."""
    patience = Patience(settings(max_links))
    with patience.with_a(row(0), "hci0") as first_try:
        assert first_try == 60.0
    with patience.with_a(row(1), "hci0") as long_try:
        assert long_try == 120.0
        with patience.with_a(row(2), "hci0") as beside, patience.with_a(row(2), "hci1") as elsewhere:
            assert (beside, elsewhere) == (second, 240.0)
    with patience.with_a(row(2), "hci0") as afterwards:
        assert afterwards == 240.0
