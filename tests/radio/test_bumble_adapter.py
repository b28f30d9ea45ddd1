"""An adapter that another process offers: there, not there, and gone."""

import asyncio
from pathlib import Path

import pytest
from bleak import BleakScanner
from bumble.transport import open_transport

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.radio import bumble_adapter, open_adapters
from bota_gateway.sim.virtual_radio import VirtualRadio

TURNS = 40
"""Of the loop: more than the start of a scan takes."""


async def test_an_offered_adapter_is_used_and_its_loss_ends_the_block(tmp_path: Path) -> None:
    """While it is there the block runs; when the other side goes away the block ends by an error that names it."""
    radio = VirtualRadio()
    async with await open_transport(f"unix-server:{tmp_path}/hci") as offered:
        radio.attach("hub", offered, public_address="00:11:22:33:44:55")
        name = f"bumble:unix-client:{tmp_path}/hci"
        with pytest.raises(ExceptionGroup) as gone:  # noqa: PT012 - the block is the point
            async with open_adapters(RadioSettings(adapters=(name,))) as (adapter,):
                assert adapter.name == name
                offered.sink.transport.close()
                await asyncio.Event().wait()
        offered.server.close()  # bumble forgets to
    assert gone.group_contains(AdapterError, match="went away")
    radio.close()


async def test_a_scan_whose_start_is_given_up_at_any_moment_does_not_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each command that was sent gets its own answer, and the controller scans no more; so the next start works."""
    radio = VirtualRadio()
    async with await open_transport(f"unix-server:{tmp_path}/hci") as offered:
        radio.attach("hub", offered, public_address="00:11:22:33:44:55")
        name = f"bumble:unix-client:{tmp_path}/hci"
        async with open_adapters(RadioSettings(adapters=(name,))) as (adapter,):
            in_time = False
            for turns in range(TURNS):
                starting = asyncio.create_task(BleakScanner(backend=adapter.scanner_backend).start())
                for _ in range(turns):
                    await asyncio.sleep(0)
                starting.cancel()
                await asyncio.wait({starting})
                in_time = not starting.cancelled()
                async with BleakScanner(backend=adapter.scanner_backend):
                    pass
                assert caplog.messages == [], f"after {turns} turns"  # bumble's, of answers that nobody waits for
            assert in_time, "the last start was given up, too: more turns are needed"
        offered.server.close()  # bumble forgets to
    radio.close()


async def test_an_adapter_that_nobody_offers_is_an_error(tmp_path: Path) -> None:
    """The transport is named, with what to check."""
    with pytest.raises(AdapterError, match="nowhere") as refused:
        async with open_adapters(RadioSettings(adapters=(f"bumble:unix-client:{tmp_path}/nowhere",))):
            pass
    assert "radio.adapters" in refused.value.next_step


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
async def test_what_is_no_controller_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bytes | None
) -> None:
    """Another program that hangs up after words of its own, or one that says nothing: named, with what to check."""
    monkeypatch.setattr(bumble_adapter, "ANSWER_S", 0.1)
    done = asyncio.Event()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if says is None:
            await done.wait()
        else:
            writer.write(says)
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "other"):
        with pytest.raises(ExceptionGroup) as refused:
            async with open_adapters(RadioSettings(adapters=(f"bumble:unix-client:{tmp_path}/other",))):
                pass
        done.set()
    assert refused.group_contains(AdapterError, match="other does not answer as a controller does")
    for error in refused.value.exceptions:  # the other one may be that it went away
        assert isinstance(error, AdapterError)
        assert "radio.adapters" in error.next_step
