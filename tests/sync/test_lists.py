"""Lists in every framing, and lists that are silent, doubled, contradictory or rubbish."""

from dataclasses import replace
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.protocol.recording_list import ListEntry, encode_list_notification
from bota_gateway.sim import firmware
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import EmptyList, ListForm, RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.sync.const import LIST_TRIES
from bota_gateway.sync.reasons import Reason
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
ONE, TWO = "00000001", "00000002"


@pytest.mark.parametrize("form", list(ListForm))
async def test_every_framing_of_a_list_is_read(tmp_path: Path, form: ListForm) -> None:
    """With a count, with one in each notification, without, or one entry at a time."""
    air = VirtualRadio(bytes_per_s=60_000)
    held = [stored(number, size=500) for number in range(1, 14)]
    async with (
        SimRecorder(air, serial=SERIAL, recordings=held, options=RecorderOptions(list_form=form)),
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED, count=len(held))


@pytest.mark.parametrize(("quiet_s", "total_s"), [(40, 100), (100, 40)])
async def test_a_list_without_count_ends_as_the_settings_say(tmp_path: Path, quiet_s: float, total_s: float) -> None:
    """After the silence, or after the whole time; in which case nothing is concluded from what it leaves out."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(list_form=ListForm.BARE, empty_list=EmptyList.EMPTY_NOTIFICATION)
    wire = {"list_quiet_s": quiet_s, "list_total_s": total_s}
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air, wire=wire, recorders={"confirm": "never"}) as hub,
    ):
        await recorder.wait_until(lambda: recorder.seen.lists == 1)
        began = hub.now()
        await hub.visited(SERIAL)
        assert 40 <= hub.now() - began < 60
        await hub.all_in(Custody.STORED)
        recorder.firmware.recordings.clear()
        await hub.visited(SERIAL, since=hub.now())
        assert await hub.states() == {ONE: Custody.CONFIRMED if quiet_s < total_s else Custody.STORED}


@pytest.mark.parametrize("empty", list(EmptyList))
async def test_every_way_to_have_nothing_is_understood(tmp_path: Path, empty: EmptyList) -> None:
    """A zero, an empty notification, or silence with a status that counts none: the visit went well."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL, options=RecorderOptions(empty_list=empty)) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        record = await hub.visited(SERIAL)
        assert (record.waiting_for, record.attempts) == (None, 0)
        assert recorder.seen.lists == 1


async def test_deletion_is_seen_when_the_list_falls_silent(tmp_path: Path) -> None:
    """The last recording is deleted and the recorder then says nothing at all: that is an empty list."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(empty_list=EmptyList.SILENT)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.connections == 1


async def test_a_silent_list_is_asked_for_once_more(tmp_path: Path) -> None:
    """Silent although the status counts one: asked again, and served in the same visit."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.LIST_SILENT))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.connections == 1


async def test_a_list_that_stays_silent_is_an_error(tmp_path: Path) -> None:
    """Twice silent with recordings counted: the visit failed, nothing is taken for deleted, and it is repeated."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.LIST_SILENT, times=LIST_TRIES))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        record = await hub.waiting_for(SERIAL, "recorder_list_failed")
        assert record.attempts == 1
        assert recorder.seen.starts == []
        await hub.all_in(Custody.CONFIRMED)


async def test_doubled_entries_count_once(tmp_path: Path) -> None:
    """Each recording is pulled once, however often it is listed."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.LIST_DUPLICATES, times=None))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1), stored(2)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.all_in(Custody.CONFIRMED, count=2)
        assert recorder.seen.starts == [ONE, TWO]


async def test_rubbish_takes_nothing_for_deleted(tmp_path: Path) -> None:
    """A list that can't be read is not an empty list: what is stored stays to be confirmed, what is listed stays."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder, hub_with(tmp_path, air) as hub:
        recorder.faults.add(Fault(FaultKind.IGNORE_CONFIRM))
        first = await hub.visited(SERIAL)
        assert await hub.states() == {ONE: Custody.CONFIRMING}
        recorder.faults.add(Fault(FaultKind.LIST_RUBBISH))
        await hub.visited(SERIAL, since=first.last_visit_at or 0)
        assert await hub.states() == {ONE: Custody.CONFIRMING}
        await hub.all_in(Custody.CONFIRMED)
        assert recorder.seen.starts == [ONE]


async def test_one_file_id_with_two_faces_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed twice with different starts: never pulled or confirmed, for a command could mean either; others are."""
    air = VirtualRadio(bytes_per_s=60_000)
    held = [stored(1), stored(2)]
    twin = ListEntry(ONE, 0, 5, 99, 1)
    shown = encode_list_notification([held[0].entry, twin, held[1].entry])
    monkeypatch.setattr(firmware, "list_notifications", lambda *_: [shown])
    async with SimRecorder(air, serial=SERIAL, recordings=held) as recorder, hub_with(tmp_path, air) as hub:
        record = await hub.waiting_for(SERIAL, Reason.LIST_CONTRADICTORY)
        assert ONE in (record.waiting_detail or "")
        assert recorder.seen.starts == [TWO]
        assert recorder.seen.confirms == [TWO]


async def test_a_file_id_with_two_faces_is_not_taken_for_another_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One odd list names a stored recording with other facts as well: it is neither pulled again nor doubled."""
    air = VirtualRadio(bytes_per_s=60_000)
    held = stored(1)
    odd = encode_list_notification([replace(held.entry, duration_s=99), held.entry])
    faults = Faults(Fault(FaultKind.IGNORE_CONFIRM))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[held], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        await hub.visited(SERIAL)
        with monkeypatch.context() as once:
            once.setattr(firmware, "list_notifications", lambda *_: [odd])
            await hub.waiting_for(SERIAL, Reason.LIST_CONTRADICTORY)
        (row,) = await hub.all_in(Custody.CONFIRMED)
        assert row.duration_s == held.duration_s
        assert recorder.seen.starts == [ONE]


async def test_a_file_id_used_again_is_another_recording(tmp_path: Path) -> None:
    """Same id, other start: pulled, uploaded and confirmed as its own recording."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder, hub_with(tmp_path, air) as hub:
        await hub.all_in(Custody.CONFIRMED)
        again = stored(1, size=7_000, started_at=1_785_000_000)
        recorder.add(again)
        rows = await hub.all_in(Custody.CONFIRMED, count=2)
        assert [row.size_bytes for row in rows] == [5_000, 7_000]
        assert await hub.audio(rows[1].id) == again.data


async def test_what_the_owners_phone_took_is_not_missed(tmp_path: Path) -> None:
    """Listed in one visit and gone in the next, before it could be pulled: forgotten, and nothing fails."""
    air = VirtualRadio(bytes_per_s=60_000)
    faults = Faults(Fault(FaultKind.NO_DATA, recording=ONE))
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], faults=faults) as recorder,
        hub_with(tmp_path, air) as hub,
    ):
        first = await hub.visited(SERIAL)
        assert await hub.states() == {ONE: Custody.LISTED}
        del recorder.firmware.recordings[ONE]
        second = await hub.visited(SERIAL, since=first.last_visit_at or 0)
        assert await hub.states() == {ONE: Custody.FORGOTTEN}
        assert second.attempts == 0


async def test_a_link_too_narrow_for_a_list_is_reported(tmp_path: Path) -> None:
    """At MTU 23 no entry fits a notification: nothing is taken for deleted or empty, and the log says why."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(att_mtu=23, list_form=ListForm.BARE)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options),
        hub_with(tmp_path, air) as hub,
    ):
        record = await hub.waiting_for(SERIAL, "recorder_list_failed")
        assert "MTU is 23" in (record.waiting_detail or "")
