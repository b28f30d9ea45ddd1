"""Who is pulled from, and who is left with a reason."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.model import Binding, Custody, Membership
from bota_gateway.protocol import uuids
from bota_gateway.protocol.device_status import StatusFlag
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import Group, RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.sync.const import CAPABILITY_LIMIT_S
from bota_gateway.sync.reasons import Reason
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
USABLE = bytes.fromhex("010218007F03000000040004E4012C00010000002C000000")
"""Capability document of a real unit (docs/protocol.md, "Version 2")."""


async def test_a_stranger_is_looked_at_once_and_left_alone(tmp_path: Path) -> None:
    """A serial outside the project is remembered: nothing is listed, and nobody connects again until the re-check."""
    air = VirtualRadio(bytes_per_s=60_000)
    strangers = {SERIAL: Binding(Membership.STRANGER)}
    options = RecorderOptions(advertising_interval_s=1)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air, bindings=strangers, visits={"stranger_recheck_s": 3000}) as hub,
    ):
        await hub.waiting_for(SERIAL, Reason.STRANGER)
        await asyncio.sleep(2900)
        assert recorder.seen.connections == 1
        assert hub.effects.count(f"read {uuids.SERIAL_NUMBER}") == 1
        assert not any(effect.startswith("write") for effect in hub.effects)
        assert not await hub.spool.recordings()
        assert len(recorder.recordings) == 1


async def test_a_stranger_that_joins_the_project_is_served_at_once(tmp_path: Path) -> None:
    """When the cloud says otherwise than before, the reason is gone and the recorder is due."""
    air = VirtualRadio(bytes_per_s=60_000)
    strangers = {SERIAL: Binding(Membership.STRANGER)}
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]),
        hub_with(tmp_path, air, bindings=strangers) as hub,
    ):
        left = await hub.waiting_for(SERIAL, Reason.STRANGER)
        await hub.spool.bind(SERIAL, Binding(Membership.BOUND))
        await hub.all_in(Custody.CONFIRMED)
        record = await hub.visited(SERIAL, since=left.last_visit_at or 0)
        assert (record.last_visit_at or 0) - (left.last_visit_at or 0) < hub.settings.visits.interval_s


async def test_unresolved_is_not_pulled_until_the_cloud_has_answered(tmp_path: Path) -> None:
    """While nobody can say whose a recorder is, its audio stays on it; the answer makes it due."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]),
        hub_with(tmp_path, air, cloud_up=False) as hub,
    ):
        await hub.waiting_for(SERIAL, Reason.UNRESOLVED)
        assert not await hub.spool.recordings()
        hub.cloud_up.set()
        await hub.all_in(Custody.CONFIRMED)


async def test_an_unbound_recorder_is_pulled_and_its_recordings_parked(tmp_path: Path) -> None:
    """Registered but worn by nobody: captured, parked with the reason, and never confirmed."""
    air = VirtualRadio(bytes_per_s=60_000)
    unbound = {SERIAL: Binding(Membership.UNBOUND, device_id="dev_1")}
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder,
        hub_with(tmp_path, air, bindings=unbound) as hub,
    ):
        (row,) = await hub.all_in(Custody.PARKED)
        assert row.parked_reason == "upload_unbound"
        await hub.visited(SERIAL)
        assert len(recorder.recordings) == 1


@pytest.mark.parametrize(
    ("section", "reason"), [({"deny": [SERIAL]}, Reason.DENIED), ({"allow": ["OTHER"]}, Reason.NOT_ALLOWED)]
)
async def test_the_operator_decides_who_is_served(
    tmp_path: Path, section: dict[str, list[str]], reason: Reason
) -> None:
    """Denied or not allowed: the recorder is left with that reason, and nothing is asked of it."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]),
        hub_with(tmp_path, air, recorders=section) as hub,
    ):
        await hub.waiting_for(SERIAL, reason)
        assert not any(effect.startswith("write") for effect in hub.effects)


async def test_a_recorder_that_uploads_by_itself_is_only_observed(tmp_path: Path) -> None:
    """Sync active: nothing is listed or pulled, for the cloud would not notice a second copy; later it is."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder, hub_with(tmp_path, air) as hub:
        recorder.condition.sync_active = True
        await hub.waiting_for(SERIAL, Reason.SYNC_ACTIVE)
        assert recorder.seen.lists == 0
        recorder.condition.sync_active = False
        await hub.all_in(Custody.CONFIRMED)


async def test_a_recorder_that_begins_to_upload_in_mid_visit_is_left(tmp_path: Path) -> None:
    """Error 0x20 at START means the same as sync active: the visit ends, nothing is parked, it comes later."""
    air = VirtualRadio(bytes_per_s=60_000)
    busy = Faults(Fault(FaultKind.ERROR, recording="00000001", at=0, code=0x20))
    held = [stored(1), stored(2)]
    async with (
        SimRecorder(air, serial=SERIAL, recordings=held, faults=busy) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, Reason.SYNC_ACTIVE)
        assert recorder.seen.starts == ["00000001"]
        await hub.all_in(Custody.CONFIRMED, count=2)


async def test_an_unreadable_status_means_hands_off(tmp_path: Path) -> None:
    """Whether it uploads by itself is not known, so nothing is pulled; the visit is repeated with back-off."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.STATUS_UNREADABLE))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        record = await hub.waiting_for(SERIAL, "recorder_status_unreadable")
        assert recorder.seen.lists == 0
        assert record.attempts == 1
        await hub.all_in(Custody.CONFIRMED)
        assert (await hub.visited(SERIAL)).attempts == 0


@pytest.mark.parametrize(
    ("percent", "flags", "least"), [(14, StatusFlag(0), 15), (60, StatusFlag.LOW_BATTERY, 15), (49, StatusFlag(0), 50)]
)
async def test_a_low_battery_is_spared(tmp_path: Path, percent: int, flags: StatusFlag, least: int) -> None:
    """Low and not charging: left alone with the reason; on the charger it is served."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(advertising_interval_s=1)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder:
        recorder.condition.battery_percent, recorder.condition.flags = percent, flags
        async with hub_with(tmp_path, air, recorders={"low_battery_percent": least}) as hub:
            record = await hub.waiting_for(SERIAL, Reason.LOW_BATTERY)
            assert (record.battery_percent, record.charging) == (percent, False)
            assert recorder.seen.lists == 0
            recorder.condition.flags |= StatusFlag.CHARGING
            await hub.all_in(Custody.CONFIRMED)


async def test_a_version_2_recorder_is_left_alone(tmp_path: Path) -> None:
    """Its version-1 list may name version-2 recordings: nothing is listed, pulled or confirmed, and it says why."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(capability=USABLE)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, Reason.NEEDS_V2)
        assert (recorder.seen.lists, recorder.seen.starts, recorder.seen.confirms) == (0, [], [])


async def test_capability_flags_of_0_are_read_again_until_they_are_ready(tmp_path: Path) -> None:
    """Flags 0 mean "still starting", not "no version 2"."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(capability=USABLE, capability_ready_after_s=5)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, Reason.NEEDS_V2)
        assert recorder.seen.connections == 1
        assert hub.effects.count(f"read {uuids.CAPABILITIES_V2}") > 10


async def test_capabilities_that_never_get_ready_are_an_error(tmp_path: Path) -> None:
    """After ten seconds of flags 0 the visit ends; version 1 is not assumed."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(capability=USABLE, capability_ready_after_s=6 * CAPABILITY_LIMIT_S)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, "recorder_not_ready")
        assert recorder.seen.lists == 0


@pytest.mark.parametrize("capability", [b"\x01\x02", USABLE[:-1] + b"\x01"])
async def test_malformed_capabilities_are_no_reason_for_version_1(tmp_path: Path, capability: bytes) -> None:
    """A document that is there and can't be understood: an error, never a downgrade."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(capability=capability)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, "recorder_capabilities_unreadable")
        assert recorder.seen.lists == 0


async def test_unreadable_capabilities_are_no_reason_for_version_1(tmp_path: Path) -> None:
    """A read that fails once ends the visit; the next one reads that there is version 2."""
    air = VirtualRadio(bytes_per_s=60_000)
    options, faults = RecorderOptions(capability=USABLE), Faults(Fault(FaultKind.CAPABILITY_UNREADABLE))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options, faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, "recorder_capabilities_unreadable")
        await hub.waiting_for(SERIAL, Reason.NEEDS_V2)
        assert recorder.seen.lists == 0


async def test_the_serial_is_read_where_it_can_be(tmp_path: Path) -> None:
    """When the standard characteristic refuses, the identity service's is taken; padding is cut off."""
    air = VirtualRadio(bytes_per_s=60_000)
    options, faults = RecorderOptions(serial_padding=6), Faults(Fault(FaultKind.SERIAL_UNREADABLE))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options, faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.connections == 1


async def test_a_recorder_without_serial_is_tried_again_later(tmp_path: Path) -> None:
    """No identity, no visit; its address waits, and then it is served."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(absent=frozenset({Group.IDENTITY}))
    faults = Faults(Fault(FaultKind.SERIAL_UNREADABLE), Fault(FaultKind.SERIAL_EMPTY))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options, faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.connections == 3


@pytest.mark.parametrize("serial", ["../../etc/passwd", "PIN\x1b[31m", "A" * 65, "PIN 1", "PIN\u00e91"])
async def test_what_is_no_serial_gets_nowhere(tmp_path: Path, serial: str) -> None:
    """Paths, control characters, overlong and foreign text: an identity failure, and no row in the spool."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=serial, recordings=[stored(1)]) as recorder, hub_with(tmp_path, air) as hub:
        await recorder.wait_until(lambda: recorder.seen.disconnections == 2)
        assert not await hub.spool.recorders()
        assert recorder.seen.lists == 0


async def test_the_recorder_gets_the_time_from_a_trusted_clock(tmp_path: Path) -> None:
    """Recordings otherwise carry wrong start times."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL) as recorder,
        hub_with(tmp_path, air, recorders={"time_zone_minutes": -210}) as hub,
    ):
        await hub.visited(SERIAL)
        assert abs(recorder.clock.now() - hub.now()) < 30
        assert recorder.clock.offset_minutes == -210


async def test_an_untrusted_clock_is_not_passed_on(tmp_path: Path) -> None:
    """A hub that may itself be in 1970 sets nobody's clock."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL) as recorder,
        hub_with(tmp_path, air, clock_is_trusted=False) as hub,
    ):
        await hub.visited(SERIAL)
        assert recorder.seen.time_syncs == 0


async def test_old_firmware_without_time_sync_is_served(tmp_path: Path) -> None:
    """Everything optional may be missing."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(absent=frozenset(Group))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options),
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
