"""What a technician does with what waits: bring it back to work, or save it as a file that plays."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bota_gateway.model import Custody, Recording
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.speech import speeches
from bota_gateway.sim.speech.ogg import checksum
from support.commands import run_beside
from support.world import World, speech

OPUSDEC = shutil.which("opusdec")


def pages_of(data: bytes) -> int:
    """The pages of an Ogg file, each with its own checksum right, and nothing between or behind them."""
    at = count = 0
    while at < len(data):
        assert data[at : at + 4] == b"OggS"
        segments = data[at + 26]
        length = 27 + segments + sum(data[at + 27 : at + 27 + segments])
        page = bytearray(data[at : at + length])
        said = int.from_bytes(page[22:26], "little")
        page[22:26] = bytes(4)
        assert (len(page), checksum(page)) == (length, said)
        at, count = at + length, count + 1
    return count


def assert_plays(file: Path) -> None:
    """The container is whole; and where a decoder is at hand, it makes sound of it."""
    assert pages_of(file.read_bytes()) > 2
    if OPUSDEC:
        wave = file.with_suffix(".wav")
        subprocess.run([OPUSDEC, "--quiet", file, wave], check=True, capture_output=True, timeout=60)  # noqa: S603 - ours
        assert wave.stat().st_size > 16_000


@pytest.mark.virtual_time
async def test_a_capture_plays_whether_or_not_the_cloud_and_the_daemon_are_there(tmp_path: Path) -> None:
    """Real speech, the cloud refusing all: saved beside the running daemon, and from the spool alone after it ended."""
    said = speeches()[0]
    held = StoredRecording("0000000a", 1_780_000_000, said.duration_s, said.read())
    async with World.open(tmp_path) as world:
        world.cloud.faults.add("POST /recordings", Status(status=401), times=None)
        await world.recorder("PIN0000001", held)
        async with world.gateway() as running:
            await running.all_in(Custody.CAPTURED)
            beside = await running.ask("export", "0000000a", "--to", str(tmp_path / "beside.ogg"))
        alone = await run_beside(
            "export", "0000000a", "--directory", tmp_path / "spool", "--to", tmp_path / "alone.ogg"
        )
    assert (beside.code, alone.code) == (0, 0)
    for name in ("beside.ogg", "alone.ogg"):
        assert (tmp_path / name).read_bytes() == held.data
        assert_plays(tmp_path / name)


@pytest.mark.virtual_time
async def test_one_or_all_of_a_cause_are_brought_back_over_the_socket(tmp_path: Path) -> None:
    """Two recorders of nobody and one odd file: the cause decides who comes back, a name brings back one."""
    pins = {"PIN0000001": speech(1), "PIN0000002": speech(2)}
    odd = StoredRecording("0000000b", 1_780_000_000, 1, b"no audio at all")
    async with World.open(tmp_path) as world:
        for serial, held in pins.items():
            await world.recorder(serial, held, end_user=None)
        await world.recorder("PIN0000003", odd)
        async with world.gateway(visits={"interval_s": 20}) as running:
            await running.all_in(Custody.PARKED, count=3)
            none = await running.ask("retry", "--reason", "recorder_rebound")
            assert (none.code, none.out.split(".")[0]) == (0, "Nothing is parked for 'recorder_rebound'")
            one = await running.ask("retry", odd.file_id)
            assert (one.code, one.out) == (0, "1 brought back to work.\n")
            for serial in pins:
                world.cloud.devices.bind(serial, "eu_new")
            both = await running.ask("retry", "--reason", "recorder_unbound", "--json")
            assert both.json == {"retried": 2, "left_forgotten": 0}

            async def home() -> list[Recording]:  # a binding that is a moment old may park them once more before
                rows = await running.gateway.spool.recordings()
                states = sorted(row.state for row in rows)
                return rows if states == [Custody.CONFIRMED, Custody.CONFIRMED, Custody.PARKED] else []

            rows = await running.until(home, within=900)
            assert {row.parked_reason for row in rows} == {None, "upload_unsupported_audio"}
            assert len(world.cloud.recordings) == 2
