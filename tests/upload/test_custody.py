"""From captured to stored, when the cloud behaves."""

from pathlib import Path

import pytest

from bota_gateway.cloud.contracts import D1, D2, E
from bota_gateway.errors import SpoolWriteError
from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Spool
from support.spooling import happened
from support.uploading import SERIAL, hub, speech

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize("generation", ["d1", "d2", "e"])
@pytest.mark.parametrize("auto", [True, False])
async def test_a_capture_becomes_stored_in_every_generation(tmp_path: Path, generation: str, auto: bool) -> None:
    """Whatever generation answers, named or found out, each capture is in the bucket once and bit-identical."""
    settings = {"profile": "auto" if auto else generation}
    async with hub(tmp_path, generation, settings=settings) as it:
        for number in range(3):
            await it.capture(number, speech(300_000, number))
        await it.upload()
        await it.assert_stored_once()
        proved = generation == "e"
        assert {row.verified for row in await it.spool.recordings()} == {proved}
        assert it.api.contracts.current is {"d1": D1, "d2": D2, "e": E}[generation]


@pytest.mark.parametrize("generation", ["d1", "d2", "e"])
@pytest.mark.parametrize("variant", ["A", "B", "C", "D", "D-message"])
async def test_auto_finds_a_strict_server_out(tmp_path: Path, generation: str, variant: str) -> None:
    """A server that refuses fields it does not know names them in any of the four error shapes, and is understood."""
    async with hub(tmp_path, generation, unknown_fields="refuse", error_variant=variant) as it:
        await it.capture(1)
        await it.capture(2)
        await it.upload()
        await it.assert_stored_once()


async def test_every_intent_is_on_disk_before_its_call(tmp_path: Path) -> None:
    """The timeline shows the intents where they belong."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        await it.upload()
        story = [line for line in await happened(it.spool, row.id) if line != "postponed"]
        assert story[-5:] == ["create_intended", "created", "put", "complete_intended", "stored"]


async def test_a_recording_says_where_it_comes_from(tmp_path: Path) -> None:
    """Everything that recognises a capture again stands in the recording's metadata, and the start in its own field."""
    async with hub(tmp_path) as it:
        row = await it.capture(7)
        await it.upload()
        (made,) = it.cloud.recordings.values()
        assert made.facts["recorded_at"] == "2026-09-21T14:13:20Z"
        assert made.metadata["serial_number"] == SERIAL
        assert made.metadata["device_file_id"] == "00000007"
        assert made.metadata["sha256"] == row.sha256
        assert made.metadata["size_bytes"] == row.size_bytes
        assert made.metadata["hub"] == "hub-1"
        assert str(made.metadata["gateway"]).startswith("bota-gateway/")


async def test_an_unknown_start_stays_unknown(tmp_path: Path) -> None:
    """A recorder without a clock says 0, and the cloud is not told 1970."""
    async with hub(tmp_path) as it:
        await it.capture(started_at=0)
        await it.upload()
        (made,) = it.cloud.recordings.values()
        assert made.facts["recorded_at"] is None
        assert made.metadata["started_at"] == 0


async def test_new_captures_are_taken_as_they_come(tmp_path: Path) -> None:
    """An idle uploader is woken by a capture, without polling."""
    async with hub(tmp_path) as it, it.running():
        for number in range(3):
            row = await it.capture(number)
            while (await it.spool.recording(row.id)).state is not Custody.STORED:
                await it.spool.wait_for_change(it.spool.revision)
        await it.assert_stored_once()


async def test_the_device_id_is_left_out_on_request(tmp_path: Path) -> None:
    """One setting decides whether the device is named, as the vendor's own pages disagree."""
    async with hub(tmp_path, settings={"send_device_id": False}) as it:
        await it.capture()
        await it.upload()
        (made,) = it.cloud.recordings.values()
        assert made.device_id is None


async def test_an_uploader_that_failed_takes_everything_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording whose step the disk refused is not taken for under way when the uploader is run again."""

    async def refused(_spool: Spool, _recording_id: int) -> Recording:
        raise SpoolWriteError("The disk refused the spool.")

    async with hub(tmp_path) as it:
        await it.capture(1)
        uploader = it.uploader()
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "put_done", refused)
            with pytest.RaisesGroup(SpoolWriteError):
                await uploader.run()
        await it.upload(uploader=uploader)
        await it.assert_stored_once()
