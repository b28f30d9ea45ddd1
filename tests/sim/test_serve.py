import asyncio
import contextlib
from pathlib import Path

import pytest
from bumble.transport import open_transport

from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.serve import serve
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.recorders import Hub, recording


async def test_a_recorder_runs_on_a_controller_elsewhere(tmp_path: Path) -> None:
    """Over an HCI transport, here a socket to a virtual controller, a recorder serves as it does on a virtual radio."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    stored = recording(20_000)
    recorder = SimRecorder(serial="PIN0000001", recordings=[stored])
    socket = str(tmp_path / "hci")
    async with await open_transport(f"unix-server:{socket}") as controller_side:
        radio.attach("controller", controller_side, public_address="00:11:22:33:44:55")
        serving = asyncio.create_task(serve(f"unix-client:{socket}", recorder))
        async with hub.visit(recorder.address) as visit:
            assert (await visit.pull(stored)).data == stored.data
            await visit.ack()
            await visit.confirm(stored)
        assert recorder.recordings == []
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        controller_side.server.close()  # bumble forgets to
    assert serving.cancelled()


async def test_a_transport_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A transport that can't be opened raises what opening it raises."""
    with pytest.raises(OSError, match="No such file"):
        await serve(f"unix-client:{tmp_path}/nothing", SimRecorder(serial="PIN0000001"))
