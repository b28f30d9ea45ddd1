"""Who is visited when: several recorders, few links, ranges, restarts."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from bota_gateway.errors import LinkLostError, SpoolWriteError
from bota_gateway.model import Custody
from bota_gateway.radio import Link
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import Spool
from bota_gateway.sync import recorder as recorder_room
from bota_gateway.sync.reasons import Reason
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time


async def test_recorders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """All units advertise one name; the serials tell whose recording is whose."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=[stored(1)]),
        SimRecorder(air, serial="PIN0000002", recordings=[stored(2)]),
        hub_with(tmp_path, air) as hub,
    ):
        rows = await hub.all_in(Custody.CONFIRMED, count=2)
        assert {row.key.serial: row.key.file_id for row in rows} == {
            "PIN0000001": "00000001",
            "PIN0000002": "00000002",
        }


async def test_links_run_side_by_side_within_the_limit(tmp_path: Path) -> None:
    """Up to max_links visits at once, and not one more."""
    air = VirtualRadio(bytes_per_s=20_000)
    serials = [f"PIN000000{number}" for number in range(5)]
    recorders = [
        SimRecorder(air, serial=serial, recordings=[stored(number, size=60_000)])
        for number, serial in enumerate(serials, start=1)
    ]
    async with asyncio.TaskGroup() as tasks:
        for recorder in recorders:
            tasks.create_task(recorder.start())
    most = 0
    async with hub_with(tmp_path, air, radio={"max_links": 2}) as hub:

        async def all_done() -> bool:
            nonlocal most
            most = max(most, len(hub.rounds.links), air.link_count)
            states = await hub.states()
            return len(states) == 5 and set(states.values()) == {Custody.CONFIRMED}

        await hub.until(all_done)
    assert most == 2
    for recorder in recorders:
        await recorder.stop()


async def test_one_link_is_shared_fairly(tmp_path: Path) -> None:
    """With a single link and one recorder full of recordings, the others are not starved."""
    air = VirtualRadio(bytes_per_s=20_000)
    hoard = [stored(number, size=100_000) for number in range(1, 13)]
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=hoard) as big,
        SimRecorder(air, serial="PIN0000002", recordings=[stored(1)]),
        SimRecorder(air, serial="PIN0000003", recordings=[stored(1)]),
        hub_with(tmp_path, air, radio={"max_links": 1}, visits={"at_most_s": 10}) as hub,
    ):
        for serial in ("PIN0000002", "PIN0000003"):
            await hub.visited(serial)
        assert len(big.acknowledged) < len(hoard)
        await hub.all_in(Custody.CONFIRMED, count=len(hoard) + 2)
        assert big.seen.connections > 3


async def test_who_waits_longest_goes_first(tmp_path: Path) -> None:
    """While the only link is taken others come into range; they are visited in the order in which they came."""
    air = VirtualRadio(bytes_per_s=20_000)
    first = SimRecorder(air, serial="PIN0000001", recordings=[stored(1, size=600_000)])
    others = [SimRecorder(air, serial=serial) for serial in ("PIN0000002", "PIN0000003", "PIN0000004")]
    visited: list[str] = []
    async with first, hub_with(tmp_path, air, radio={"max_links": 1}) as hub:
        await first.wait_until(lambda: bool(first.seen.transfers))
        for other in others:
            await other.start()
            await asyncio.sleep(5)

        async def note_the_order() -> bool:
            records = await hub.spool.recorders()
            visited.extend(each.serial for each in records if each.last_visit_at and each.serial not in visited)
            return len(visited) == 4

        await hub.until(note_the_order)
    assert visited == ["PIN0000001", "PIN0000002", "PIN0000003", "PIN0000004"]
    for other in others:
        await other.stop()


async def test_a_visit_ends_in_time_for_the_owners_phone(tmp_path: Path) -> None:
    """After at_most_s no transfer begins; the recorder says why, is free in between, and the rest follows soon."""
    air = VirtualRadio(bytes_per_s=20_000)
    held = [stored(number, size=100_000) for number in range(1, 9)]
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=held) as recorder,
        hub_with(tmp_path, air, visits={"at_most_s": 12}) as hub,
    ):
        record = await hub.waiting_for("PIN0000001", Reason.TIME_UP)
        assert 0 < len(recorder.acknowledged) < len(held)
        assert (record.next_visit_at or 0) - hub.now() <= hub.settings.visits.shortest_s
        await hub.all_in(Custody.CONFIRMED, count=len(held))


async def test_one_bad_recorder_does_not_stop_the_others(tmp_path: Path) -> None:
    """A recorder that fails every visit is put off further each time, while its neighbour is served."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(advertising_interval_s=0.5)
    faults = Faults(Fault(FaultKind.STATUS_UNREADABLE, times=None))
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=[stored(1)], options=options, faults=faults),
        SimRecorder(air, serial="PIN0000002", recordings=[stored(2)], options=options),
        hub_with(tmp_path, air, radio={"max_links": 1}) as hub,
    ):

        async def failed_thrice() -> bool:
            record = await hub.recorder("PIN0000001")
            return record is not None and record.attempts >= 3

        await hub.until(failed_thrice)
        bad = await hub.recorder("PIN0000001")
        assert bad is not None
        assert (bad.next_visit_at or 0) - hub.now() > 60
        assert await hub.states("PIN0000002") == {"00000002": Custody.CONFIRMED}


async def test_a_recorder_lost_before_it_is_known_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its serial was read and its link ends before the spool knows it: it is put off, and its neighbour goes on."""
    air = VirtualRadio(bytes_per_s=20_000)
    real, calls = recorder_room.read_firmware, []

    async def lost_at_first(link: Link) -> str | None:
        calls.append(link)
        if len(calls) == 2:
            raise LinkLostError("It walked away.")
        return await real(link)

    monkeypatch.setattr(recorder_room, "read_firmware", lost_at_first)
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=[stored(1, size=200_000)]) as first,
        SimRecorder(air, serial="PIN0000002", recordings=[stored(2, size=200_000)]) as second,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED, count=2)
        assert sorted([first.seen.connections, second.seen.connections]) == [1, 2]


async def test_the_interval_stretches_while_there_is_nothing(tmp_path: Path) -> None:
    """An idle recorder is bothered less and less; a new recording brings the interval back."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(advertising_interval_s=1)
    async with (
        SimRecorder(air, serial="PIN0000001", options=options) as recorder,
        hub_with(tmp_path, air, visits={"interval_s": 100, "longest_s": 400}) as hub,
    ):
        visits = [0.0]
        for _ in range(4):
            record = await hub.visited("PIN0000001", since=visits[-1])
            visits.append(record.last_visit_at or 0)
        gaps = [round(later - earlier, -2) for earlier, later in pairwise(visits[1:])]
        assert gaps == [200, 400, 400]
        recorder.add(stored(1))
        await hub.all_in(Custody.CONFIRMED)
        record = await hub.visited("PIN0000001", since=visits[-1])
        assert round((record.next_visit_at or 0) - (record.last_visit_at or 0)) == 100


async def test_coming_into_range_is_answered_with_a_visit(tmp_path: Path) -> None:
    """A recorder that was away is visited when it is back, long before its interval is over."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(advertising_interval_s=1)
    async with SimRecorder(air, serial="PIN0000001", options=options) as recorder, hub_with(tmp_path, air) as hub:
        first = await hub.visited("PIN0000001")
        air.set_silent("PIN0000001", True)
        await asyncio.sleep(200)
        recorder.add(stored(1))
        air.set_silent("PIN0000001", False)
        second = await hub.visited("PIN0000001", since=first.last_visit_at or 0)
        assert (second.last_visit_at or 0) < (first.next_visit_at or 0) - 100
        await hub.all_in(Custody.CONFIRMED)


async def test_a_recorder_held_for_long_was_not_away(tmp_path: Path) -> None:
    """While its link is held it does not advertise; heard again afterwards it waits for its interval like any other."""
    air = VirtualRadio(bytes_per_s=5_000)
    options = RecorderOptions(advertising_interval_s=1)
    held = stored(1, size=700_000)
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=[held], options=options),
        hub_with(tmp_path, air) as hub,
    ):
        first = await hub.visited("PIN0000001")
        second = await hub.visited("PIN0000001", since=first.last_visit_at or 0)
        assert (second.last_visit_at or 0) - (first.last_visit_at or 0) >= hub.settings.visits.interval_s


async def test_two_recorders_with_one_serial_are_not_visited_at_once(tmp_path: Path) -> None:
    """A copied serial, or one recorder at an old and a new address: one link at a time, and custody stays whole."""
    air = VirtualRadio(bytes_per_s=20_000)
    serial = "PIN0000001"
    twin_air = SimRecorder(air, serial="TWIN000001", recordings=[stored(2)])
    twin_air.firmware.serial = serial
    async with (
        SimRecorder(air, serial=serial, recordings=[stored(1, size=200_000)]),
        twin_air,
        hub_with(tmp_path, air) as hub,
    ):
        most = 0

        async def first_done() -> bool:
            nonlocal most
            most = max(most, [link.serial for link in hub.rounds.links if link.file_id].count(serial))
            return (await hub.states()).get("00000001") is Custody.CONFIRMED

        await hub.until(first_done)
        assert most == 1


async def test_two_recorders_with_one_serial_do_not_take_all_the_time(tmp_path: Path) -> None:
    """The spool knows one address of a serial, so each twin is news again and again; visits keep their distance."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(advertising_interval_s=1)
    twins = [SimRecorder(air, serial=name, options=options) for name in ("PIN0000001", "TWIN000001")]
    twins[1].firmware.serial = "PIN0000001"
    async with twins[0], twins[1], hub_with(tmp_path, air, visits={"interval_s": 100}) as hub:
        await hub.visited("PIN0000001")
        await asyncio.sleep(1000)
        assert all(3 <= twin.seen.connections <= 12 for twin in twins)


async def test_links_tell_how_far_they_are(tmp_path: Path) -> None:
    """The read model names recorder and recording, counts bytes, and gives a rate."""
    air = VirtualRadio(bytes_per_s=20_000)
    async with (
        SimRecorder(air, serial="PIN0000001", recordings=[stored(1, size=600_000)]) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await recorder.wait_until(lambda: bool(recorder.seen.transfers))
        await asyncio.sleep(15)
        (link,) = hub.rounds.links
        assert (link.serial, link.file_id, link.adapter) == ("PIN0000001", "00000001", "hci0")
        assert 200_000 < link.received_bytes < 320_000
        assert link.expected_bytes == 600_064
        assert 15_000 < link.rate < 21_000
        await hub.visited("PIN0000001")
        assert not hub.rounds.links


async def test_a_stop_in_mid_transfer_leaves_a_clean_slate(tmp_path: Path) -> None:
    """Stopped while bytes arrive: the recording is listed again with the reason; a restart completes it."""
    air = VirtualRadio(bytes_per_s=20_000)
    held = stored(1, size=400_000)
    async with SimRecorder(air, serial="PIN0000001", recordings=[held]) as recorder:
        async with hub_with(tmp_path, air) as hub:
            await recorder.wait_until(lambda: bool(recorder.seen.transfers))
            await asyncio.sleep(5)
        async with Spool.open(hub.settings.spool, hub.now) as spool:
            (row,) = await spool.recordings()
            assert (row.state, row.waiting_for) == (Custody.LISTED, "visit_cancelled")
        await recorder.wait_until(lambda: not recorder.connected)
        async with hub_with(tmp_path, air) as hub:
            (row,) = await hub.all_in(Custody.CONFIRMED)
            assert await hub.audio(row.id) == held.data


async def test_lost_durability_ends_the_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses a capture nothing is acknowledged, and the daemon is told instead of going on."""
    air = VirtualRadio(bytes_per_s=60_000)

    async def refuse(*_args: object, **_more: object) -> None:
        raise SpoolWriteError("The disk said no.")

    monkeypatch.setattr(Spool, "capture", refuse)
    async with SimRecorder(air, serial="PIN0000001", recordings=[stored(1)]) as recorder:
        with pytest.raises(ExceptionGroup) as caught:
            async with hub_with(tmp_path, air):
                await asyncio.Event().wait()
        assert caught.value.subgroup(SpoolWriteError) is not None
        assert recorder.acknowledged == []


async def test_a_defect_in_one_visit_is_contained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception nobody thought of is logged with its traceback and backed off; the rounds go on."""
    air = VirtualRadio(bytes_per_s=60_000)
    real, calls = Spool.reconcile, []

    async def once_broken(self: Spool, *args: object, **more: object) -> object:
        calls.append(args)
        if len(calls) == 1:
            raise ZeroDivisionError("a defect")
        return await real(self, *args, **more)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(Spool, "reconcile", once_broken)
    async with SimRecorder(air, serial="PIN0000001", recordings=[stored(1)]), hub_with(tmp_path, air) as hub:
        record = await hub.waiting_for("PIN0000001", "gateway_error")
        assert "ZeroDivisionError" in (record.waiting_detail or "")
        await hub.all_in(Custody.CONFIRMED)
