"""Recorders that mean no good, or have gone wild: bounded in time, memory and disk, and nobody else suffers."""

from pathlib import Path
from random import Random

import pytest

from bota_gateway.model import Custody
from bota_gateway.protocol.recording_list import ListEntry
from bota_gateway.sim.listing import list_notifications
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import const
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL, OTHER = "PIN0000001", "PIN0000002"


@pytest.mark.parametrize("counted", [True, False], ids=["whole lists", "lists with entries missing"])
async def test_lists_of_what_is_not_there_fill_neither_disk_nor_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    """Other recordings at each visit, dozens of them, and none to be had: what is remembered of them is bounded."""
    air = VirtualRadio(bytes_per_s=100_000)
    rng = Random(1)
    monkeypatch.setattr("bota_gateway.spool.unpulled.UNPULLED_KEPT", 120)
    real = list_notifications

    def absurd(entries: list[ListEntry], form: object, empty: object, room: int) -> list[bytes]:
        if [entry.file_id for entry in entries] != ["00000001"]:
            return real(entries, form, empty, room)  # type: ignore[arg-type]  # as it came
        made = [ListEntry(rng.randbytes(4).hex(), 0, rng.getrandbits(32), 65_535, 65_535) for _ in range(60)]
        sent = real(made, form, empty, room)  # type: ignore[arg-type]  # as it came
        return sent if counted else sent[:-1]

    monkeypatch.setattr("bota_gateway.sim.firmware.list_notifications", absurd)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as wild,
        SimRecorder(air, serial=OTHER, recordings=[stored(2)]),
        hub_with(tmp_path, air, visits={"shortest_s": 10, "interval_s": 10}) as hub,
    ):
        await hub.until(lambda: wild.seen.lists >= 5, within=86_400)
        rows = await hub.spool.recordings(serial=SERIAL)
        assert 120 <= len(rows) <= 180
        assert {row.state for row in rows} <= {Custody.LISTED, Custody.FORGOTTEN}
        assert await hub.states(OTHER) == {"00000002": Custody.CONFIRMED}
        assert not wild.seen.confirms
        assert wild.recordings


def test_more_unpulled_rows_are_kept_than_a_list_can_have() -> None:
    """A recorder that really holds as much as a list is believed to have loses no reason that waits."""
    assert const.UNPULLED_KEPT > 4096


@pytest.mark.parametrize(
    "name",
    ["Bota \x1b[2J\x07", "Bota\x00\n\r", "Bota \u202e\u2066", "Bota/../../etc/passwd", "Bota '; DROP TABLE recorders"],
)
async def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    """Control characters, directions, paths and statements in an advertised name: served, and kept as a hint."""
    air = VirtualRadio(bytes_per_s=60_000)
    options = RecorderOptions(name=name)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)], options=options), hub_with(tmp_path, air) as hub:
        await hub.all_in(Custody.CONFIRMED)
        assert await hub.recorder(SERIAL) is not None
