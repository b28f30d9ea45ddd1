"""Transfers that go wrong: nothing is acknowledged that is not durable, nothing confirmed that is not stored."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bota_gateway.errors import GattError
from bota_gateway.model import Custody, Recording
from bota_gateway.protocol.control import Opcode
from bota_gateway.protocol.recording_list import ListEntry
from bota_gateway.radio import Link
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import RecorderOptions, ResultsOn, Sha, StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import Happened
from bota_gateway.sync.reasons import Why
from support.spooling import happened
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
ONE, TWO = "00000001", "00000002"


class Understated(StoredRecording):
    """Listed as far smaller than it is: the wire saturates, and firmware may do what it likes."""

    @property
    def entry(self) -> ListEntry:
        """Its line in the list."""
        return replace(super().entry, size_kib=1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.DROP, at=3),
        Fault(FaultKind.REORDER, at=3),
        Fault(FaultKind.TRUNCATE, at=3),
        Fault(FaultKind.BIT_FLIP, at=3),
        Fault(FaultKind.WRONG_CRC),
        Fault(FaultKind.ERROR, at=3, code=0x12),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_spoilt_transfer_is_repeated_in_the_same_visit(tmp_path: Path, fault: Fault) -> None:
    """What one more try can mend is tried once more at once, and only the good bytes are kept."""
    air = VirtualRadio(bytes_per_s=60_000)
    held, faults = stored(1), Faults(fault)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert await hub.audio(row.id) == held.data
        assert (recorder.seen.connections, recorder.seen.starts) == (1, [ONE, ONE])
        assert recorder.acknowledged == [ONE]
        assert [firing.kind for firing in faults.fired] == [fault.kind]


@pytest.mark.parametrize("kind", [FaultKind.DUPLICATE, FaultKind.WRONG_LENGTH])
async def test_what_does_no_harm_does_not_cost_a_repeat(tmp_path: Path, kind: FaultKind) -> None:
    """A doubled packet is dropped, a wrong length field counted; the checksum decides."""
    air = VirtualRadio(bytes_per_s=60_000)
    held, faults = stored(1), Faults(Fault(kind, at=3))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert await hub.audio(row.id) == held.data
        assert recorder.seen.starts == [ONE]
        assert faults.fired


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(FaultKind.NO_DATA), "transfer_silent"),
        (Fault(FaultKind.NO_EOF), "transfer_silent"),
        (Fault(FaultKind.STALL, at=3, seconds=30), "transfer_silent"),
        (Fault(FaultKind.UNKNOWN_TYPE, at=3), "transfer_packet_invalid"),
        (Fault(FaultKind.RUNT, at=3), "transfer_packet_invalid"),
        (Fault(FaultKind.ERROR, at=0, code=0x30), "transfer_device_error_0x30"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value,
)
async def test_a_transfer_that_needs_time_waits_with_its_reason(tmp_path: Path, fault: Fault, code: str) -> None:
    """What a repeat at once would not mend goes back to listed, says why and when, and holds up no other recording."""
    air = VirtualRadio(bytes_per_s=60_000)
    bad, good = stored(1), stored(2)
    faults = Faults(Fault(fault.kind, recording=ONE, at=fault.at, seconds=fault.seconds, code=fault.code))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[bad, good], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.visited(SERIAL)
        first, second = await hub.spool.recordings()
        assert (first.state, first.waiting_for) == (Custody.LISTED, code)
        assert first.next_attempt_at is not None
        assert first.next_attempt_at > hub.now()
        assert second.state is Custody.CONFIRMED
        await hub.all_in(Custody.CONFIRMED, count=2)
        assert await hub.audio(first.id) == bad.data
        assert recorder.seen.starts == [ONE, TWO, ONE]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0x14, "transfer_device_error_0x14"), (0x22, "transfer_needs_v2")],
)
async def test_a_permanent_refusal_parks_that_recording_alone(tmp_path: Path, code: int, reason: str) -> None:
    """Storage key gone or version 2 needed: a human is needed; it is not asked for again and never confirmed."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.ERROR, recording=ONE, at=0, code=code, times=None))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1), stored(2)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        first = await hub.visited(SERIAL)
        await hub.visited(SERIAL, since=first.last_visit_at or 0)
        row, other = await hub.spool.recordings()
        assert (row.state, row.parked_reason) == (Custody.PARKED, reason)
        assert other.state is Custody.CONFIRMED
        assert recorder.seen.starts == [ONE, TWO]
        assert recorder.seen.confirms == [TWO]


async def test_a_digest_that_never_fits_is_quarantined(tmp_path: Path) -> None:
    """The CRC passes and the recorder's SHA-256 does not, twice: parked, not acknowledged, not confirmed."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(sha=Sha.WRONG)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.PARKED)
        assert row.parked_reason == "transfer_sha_mismatch"
        await hub.visited(SERIAL)
        assert (recorder.seen.starts, recorder.acknowledged, recorder.seen.confirms) == ([ONE, ONE], [], [])


@pytest.mark.parametrize("sha", [Sha.NONE, Sha.SHORT, Sha.WITH_ID, Sha.OTHER_RECORDING, Sha.LATE, Sha.BEFORE_EOF])
async def test_every_way_of_telling_the_digest_is_understood(tmp_path: Path, sha: Sha) -> None:
    """None, short, with id, of another recording, late, early: both recordings arrive whole."""
    air = VirtualRadio(bytes_per_s=60_000)
    held = [stored(1), stored(2)]
    async with (
        SimRecorder(air, serial=SERIAL, recordings=held, options=RecorderOptions(sha=sha)),
        hub_with(tmp_path, air) as hub,
    ):
        rows = await hub.all_in(Custody.CONFIRMED, count=2)
        assert [await hub.audio(row.id) for row in rows] == [each.data for each in held]


@pytest.mark.parametrize("size", [5_000, 60_000])
async def test_a_digest_that_comes_too_late_spoils_no_other_transfer(tmp_path: Path, size: int) -> None:
    """Without an id, and half a second after its recording: known for what it is by its value, and passed over."""
    air = VirtualRadio(bytes_per_s=60_000)
    held = [stored(number, size=size) for number in (1, 2, 3)]
    async with (
        SimRecorder(air, serial=SERIAL, recordings=held, options=RecorderOptions(sha=Sha.LATE)) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        rows = await hub.all_in(Custody.CONFIRMED, count=3)
        assert [await hub.audio(row.id) for row in rows] == [each.data for each in held]
        assert recorder.seen.starts == [ONE, TWO, "00000003"]


async def test_a_recorder_that_starts_over_by_itself_is_stopped_first(tmp_path: Path) -> None:
    """After NACK some firmware may restart unasked: an ABORT makes it quiet before START is written again."""
    air = VirtualRadio(bytes_per_s=60_000)
    held, faults = stored(1, size=100_000), Faults(Fault(FaultKind.DROP, at=3))
    options = RecorderOptions(restart_after_nack=True)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held], options=options, faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert await hub.audio(row.id) == held.data
        assert [result.opcode.name for result in recorder.seen.results] == ["NACK", "ABORT", "ACK"]
        assert recorder.seen.connections == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.DISCONNECT, at=0),
        Fault(FaultKind.DISCONNECT, at=15),
        Fault(FaultKind.DISCONNECT_AFTER_EOF),
        Fault(FaultKind.LOSE_ACK_ANSWER),
        Fault(FaultKind.DISCONNECT_AFTER_ACK),
        Fault(FaultKind.LOSE_CONFIRM_ANSWER),
        Fault(FaultKind.LOSE_CONFIRM),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.at}",
)
async def test_a_link_lost_at_any_stage_is_made_up_for_in_the_next_visit(tmp_path: Path, fault: Fault) -> None:
    """Whatever the link was doing when it ended: the next visit completes it, and no captured byte is pulled twice."""
    air = VirtualRadio(bytes_per_s=60_000)
    held, faults = stored(1), Faults(fault)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert await hub.audio(row.id) == held.data
        assert not recorder.recordings
        assert faults.fired
        assert recorder.seen.connections >= 2
        story = await happened(hub.spool, row.id)
        assert story.count(Happened.CAPTURED) == 1
        record = await hub.visited(SERIAL)
        assert record.attempts == 0


async def test_a_recorder_that_walks_out_of_range_comes_back(tmp_path: Path) -> None:
    """Supervision time-out in mid-transfer: put off, and served when it is heard again."""
    air = VirtualRadio(bytes_per_s=20_000)
    held = stored(1, size=200_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[held]) as recorder, hub_with(tmp_path, air) as hub:
        await recorder.wait_until(lambda: bool(recorder.seen.transfers))
        air.set_silent(SERIAL, True)
        await hub.waiting_for(SERIAL, "radio_link_lost")
        assert (await hub.states())[held.file_id] is Custody.LISTED
        air.set_silent(SERIAL, False)
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert await hub.audio(row.id) == held.data


async def test_a_confirm_that_is_ignored_is_repeated_in_the_next_visit(tmp_path: Path) -> None:
    """The list decides: still there means tell it again; nothing is pulled a second time."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.IGNORE_CONFIRM))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.confirms == [ONE, ONE]
        assert recorder.seen.starts == [ONE]


async def test_a_confirm_without_effect_waits_with_a_reason_and_a_next_time(tmp_path: Path) -> None:
    """A recorder that never deletes is told for ever, less and less often, and is not visited more often for it."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.IGNORE_CONFIRM, times=None))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):

        async def told(times: int) -> Recording | None:
            rows = await hub.spool.recordings()
            return next((row for row in rows if row.attempts == times), None)

        for times in range(1, 12):
            row: Recording = await hub.until(partial(told, times), within=2 * 3600)
            assert (row.state, row.waiting_for) == (Custody.CONFIRMING, "recording_confirm_unheeded")
            assert len(recorder.seen.confirms) == times
        (row,) = await hub.spool.recordings()
        assert row.next_attempt_at is not None
        assert 0.5 * 3600 < row.next_attempt_at - hub.now() < 1.3 * 3600
        assert recorder.seen.starts == [ONE]
        assert recorder.seen.connections < 40
        story = await happened(hub.spool, row.id)
        assert story.count(Happened.CONFIRM_INTENDED) == story.count(Happened.POSTPONED) == 1
        assert await hub.spool.retry(row.id) == 1
        faults.clear()
        await hub.all_in(Custody.CONFIRMED)


async def test_a_recorder_that_deletes_slowly_is_believed_when_it_has(tmp_path: Path) -> None:
    """Permission is given once; the deletion is seen by a later list."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(deletion_delay_s=30)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.confirms == [ONE]


async def test_an_endless_sender_is_bounded(tmp_path: Path) -> None:
    """A recorder that never ends is aborted at the configured size and parked; the next recording is served."""
    air = VirtualRadio(bytes_per_s=500_000)
    faults = Faults(Fault(FaultKind.ENDLESS, recording=ONE))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1), stored(2)], faults=faults) as recorder,
        hub_with(tmp_path, air, wire={"max_recording_bytes": 1 << 20}) as hub,
    ):
        await hub.visited(SERIAL)
        first, second = await hub.spool.recordings()
        assert (first.state, first.parked_reason) == (Custody.PARKED, "transfer_too_long")
        assert second.state is Custody.CONFIRMED
        assert recorder.seen.connections == 1
        assert (await hub.spool.usage()).used_bytes < 1 << 20


async def test_a_recorder_that_does_not_stop_loses_its_link(tmp_path: Path) -> None:
    """Where no ABORT is heeded only the end of the link helps: the visit is over, with that reason."""
    air = VirtualRadio(bytes_per_s=500_000)
    faults = Faults(Fault(FaultKind.ENDLESS, recording=ONE, times=None))
    wire = {"max_recording_bytes": 1 << 20, "result_characteristic": "recording_transfer"}
    options = RecorderOptions(results_on=ResultsOn.TRANSFER_CONTROL)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options, faults=faults),
        hub_with(tmp_path, air, wire=wire) as hub,
    ):
        await hub.waiting_for(SERIAL, "recorder_unruly")
        assert await hub.states() == {ONE: Custody.PARKED}


async def test_a_sender_too_slow_to_be_of_use_is_given_up(tmp_path: Path) -> None:
    """Packets that trickle keep every gap short; the rate over the whole ends it, to be tried later."""
    air = VirtualRadio(bytes_per_s=300)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1, size=60_000)]) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await recorder.wait_until(lambda: bool(recorder.seen.transfers))
        air.set_pace(300)

        async def gave_up() -> bool:
            (row,) = await hub.spool.recordings()
            return row.waiting_for == "transfer_too_slow"

        await hub.until(gave_up)
        air.set_pace(60_000)
        await hub.all_in(Custody.CONFIRMED)


async def test_a_recording_without_a_byte_is_parked(tmp_path: Path) -> None:
    """Nothing could prove that the cloud has it, so it is neither acknowledged nor confirmed; a human decides."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1, size=0), stored(2)]) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.visited(SERIAL)
        empty, other = await hub.spool.recordings()
        assert (empty.state, empty.parked_reason) == (Custody.PARKED, Why.EMPTY)
        assert other.state is Custody.CONFIRMED
        assert (recorder.acknowledged, recorder.seen.confirms) == ([TWO], [TWO])


async def test_p10_is_captured_and_marked(tmp_path: Path) -> None:
    """An encrypted stream is kept as the body a relay takes, and marked, so that upload never PUTs it."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1, p10=True)]), hub_with(tmp_path, air) as hub:
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert row.profile == "p10"
        assert (row.size_bytes or 0) > 5_000


async def test_more_than_65536_packets_arrive_whole(tmp_path: Path) -> None:
    """The sequence number wraps after 65,536 packets; 15-byte payloads get there within a megabyte."""
    air = VirtualRadio(bytes_per_s=None)
    held = stored(1, size=15 * 66_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held], options=RecorderOptions(payload_bytes=15)),
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert row.sha256 == held.sha256


@pytest.mark.parametrize("refused", [Opcode.START, Opcode.CONFIRM])
async def test_a_command_refused_for_one_recording_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Opcode
) -> None:
    """The oldest is never given, or never let go: the others are pulled and confirmed, and no visit fails."""
    air = VirtualRadio(bytes_per_s=60_000)
    real = Link.write

    async def refusing(link: Link, uuid: str, value: bytes, **more: Any) -> None:
        if value[:5] == bytes([refused]) + bytes.fromhex(ONE):
            raise GattError(f"Recorder refused writing {uuid}.")
        await real(link, uuid, value, **more)

    monkeypatch.setattr(Link, "write", refusing)
    held = [stored(1), stored(2), stored(3)]
    async with SimRecorder(air, serial=SERIAL, recordings=held), hub_with(tmp_path, air) as hub:
        first = await hub.visited(SERIAL)
        second = await hub.visited(SERIAL, since=first.last_visit_at or 0)
        assert (second.waiting_for, second.attempts) == (None, 0)
        left = Custody.LISTED if refused is Opcode.START else Custody.CONFIRMING
        waits = (await hub.spool.recordings())[0]
        assert waits.waiting_for == ("radio_gatt_failed" if refused is Opcode.START else "recording_confirm_refused")
        assert waits.next_attempt_at is not None
        assert await hub.states() == {ONE: left, TWO: Custody.CONFIRMED, "00000003": Custody.CONFIRMED}


async def test_a_recording_without_room_is_not_begun_and_holds_up_no_smaller_one(tmp_path: Path) -> None:
    """The recorder keeps it and says why; what fits is pulled, and what is stored is confirmed."""
    air = VirtualRadio(bytes_per_s=500_000)
    held = [stored(1), stored(2, size=14 << 20), stored(3)]
    async with (
        SimRecorder(air, serial=SERIAL, recordings=held) as recorder,
        hub_with(tmp_path, air, spool={"max_bytes": 16 << 20}) as hub,
    ):
        record = await hub.waiting_for(SERIAL, "spool_full")
        assert record.attempts == 0
        assert recorder.seen.starts == [ONE, "00000003"]
        assert await hub.states() == {
            ONE: Custody.CONFIRMED,
            TWO: Custody.LISTED,
            "00000003": Custody.CONFIRMED,
        }


async def test_a_spool_that_fills_up_in_mid_transfer_aborts_it(tmp_path: Path) -> None:
    """The list understated the size: the transfer is aborted, its bytes dropped, and nothing acknowledged."""
    air = VirtualRadio(bytes_per_s=500_000)
    held = Understated(ONE, 1_780_000_000, 10, bytes(14 << 20))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held]) as recorder,
        hub_with(tmp_path, air, spool={"max_bytes": 16 << 20}) as hub,
    ):
        await hub.waiting_for(SERIAL, "spool_full")
        (row,) = await hub.spool.recordings()
        assert (row.state, row.waiting_for) == (Custody.LISTED, "spool_full")
        assert (await hub.spool.usage()).used_bytes < 1 << 20
        assert [result.opcode.name for result in recorder.seen.results] == ["ABORT"]
        assert recorder.acknowledged == []


async def test_failures_in_a_row_end_the_visit(tmp_path: Path) -> None:
    """When recording after recording fails it is not the recording: others get the link's time."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.NO_DATA, times=4))
    held = [stored(number) for number in range(1, 7)]
    async with (
        SimRecorder(air, serial=SERIAL, recordings=held, faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.waiting_for(SERIAL, "transfer_silent")
        assert len(recorder.seen.starts) == 3
        await hub.all_in(Custody.CONFIRMED, count=6)


async def test_a_stalled_recorder_does_not_hold_its_link_for_ever(tmp_path: Path) -> None:
    """GATT that stops answering, as after an update, ends the visit by time-out; the next one starts clean."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.GATT_STALL, at=25, seconds=math.inf))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.connections >= 2
        assert faults.fired


async def test_a_visit_is_told_as_a_story(tmp_path: Path) -> None:
    """Each happening has its event, in order, and names recorder and recording."""
    air = VirtualRadio(bytes_per_s=10_000)
    with capture_logs() as lines:
        async with (
            SimRecorder(air, serial=SERIAL, recordings=[stored(1, size=400_000)]),
            hub_with(tmp_path, air) as hub,
        ):
            await hub.visited(SERIAL)
    told = [line["event"] for line in lines]
    story = [
        "visit_started",
        "recorder_verified",
        "list_read",
        "transfer_started",
        "transfer_progress",
        "recording_captured",
        "recording_confirmed",
        "visit_ended",
    ]
    assert [event for event in dict.fromkeys(told) if event in story] == story


async def test_every_try_leaves_its_figures(tmp_path: Path) -> None:
    """Of a try that failed, and of the one that did not: enough to tell a bad antenna from a bad recorder."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.DROP, at=3))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults),
        hub_with(tmp_path, air) as hub,
    ):
        (row,) = await hub.all_in(Custody.CONFIRMED)
        lines = {line.happened: line.detail for line in await hub.spool.timeline(row.id)}
        bad, good = lines[Happened.RECEIVING_ABANDONED], lines[Happened.CAPTURED]
        assert (bad["code"], bad["gaps"]) == ("transfer_gap", 1)
        assert (good["gaps"], bad["attempt"], good["attempt"]) == (0, 1, 2)
        for figures in (bad, good):
            assert (figures["adapter"], figures["mtu"], figures["notify"]) == ("hci0", 247, "signal")
            assert isinstance(figures["packets"], int)
            assert figures["packets"] > 2
            assert isinstance(figures["seconds"], float)
            assert figures["seconds"] > 0
            assert isinstance(figures["rssi"], int)
