"""Puts simulated recorders where other processes reach them: on a real controller, or on a virtual radio."""

import asyncio
from collections.abc import Callable

from bumble import hci
from bumble.device import Device
from bumble.transport import open_transport
from bumble.transport.common import Transport

from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio

HUB_ADDRESS = "B0:7A:00:00:00:01"
"""Public address of the adapter that is offered; any will do, ours is easy to recognise."""


async def serve(transport_name: str, recorder: SimRecorder) -> None:
    """Runs ``recorder`` until cancelled, or until the controller goes away.

    Args:
        transport_name: Where the controller is, in bumble's words: ``usb:0`` for the first dongle, ``hci-socket:0``,
            ``serial:/dev/ttyACM0,1000000``, ``tcp-client:127.0.0.1:9000``, ``unix:/run/controller``.
        recorder: Made without a radio. It is powered off in the end.

    Raises:
        OSError: The transport can't be opened.
    """
    async with await _open(transport_name) as transport:
        device = Device.with_hci(recorder.options.name, hci.Address(recorder.address), transport.source, transport.sink)
        await device.power_on()
        try:
            await recorder.start(device)
            await transport.source.wait_for_termination()
        finally:
            await recorder.stop()
            await device.power_off()


async def offer_adapter(radio: VirtualRadio, transport_name: str, *, ready: Callable[[], None] = lambda: None) -> None:
    """Offers an adapter on a virtual radio to a host in another process, until cancelled.

    A host that goes away is no end: the next one resets the controller and goes on.

    Args:
        radio: Where the recorders are.
        transport_name: Where to offer it, in bumble's words: ``tcp-server:127.0.0.1:9100``, ``unix-server:PATH``.
        ready: Called once a host can come.

    Raises:
        OSError: The place is taken or can't be used.
    """
    async with await _open(transport_name) as transport:
        radio.attach("hub", transport, public_address=HUB_ADDRESS)
        ready()
        await asyncio.Event().wait()


async def _open(name: str) -> Transport:
    try:
        return await open_transport(name)
    except Exception as error:  # bumble and its drivers raise whatever they like, a bare Exception among them
        raise OSError(f"{name} can't be opened: {str(error) or 'bumble knows no such transport'}") from error
