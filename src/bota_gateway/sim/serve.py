"""Puts a simulated recorder on a real controller, for others to test against."""

from bumble import hci
from bumble.device import Device
from bumble.transport import open_transport

from bota_gateway.sim.recorder import SimRecorder


async def serve(transport_name: str, recorder: SimRecorder) -> None:
    """Runs ``recorder`` until cancelled, or until the controller goes away.

    Args:
        transport_name: Where the controller is, in bumble's words: ``usb:0`` for the first dongle, ``hci-socket:0``,
            ``serial:/dev/ttyACM0,1000000``, ``tcp-client:127.0.0.1:9000``, ``unix:/run/controller``.
        recorder: Made without a radio. It is powered off in the end.

    Raises:
        bumble.transport.common.TransportInitError: The transport can't be opened.
    """
    async with await open_transport(transport_name) as transport:
        device = Device.with_hci(recorder.options.name, hci.Address(recorder.address), transport.source, transport.sink)
        await device.power_on()
        try:
            await recorder.start(device)
            await transport.source.wait_for_termination()
        finally:
            await recorder.stop()
            await device.power_off()
