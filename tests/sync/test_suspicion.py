import pytest

from bota_gateway.config import NotifyMode
from bota_gateway.errors import IdentityError
from bota_gateway.protocol.uuids import SERIAL_NUMBER
from bota_gateway.radio import Link
from bota_gateway.sync.recorder import read_serial
from support.fake_bleak import FakeAir, packet
from support.virtual_time import virtual_time


@pytest.mark.parametrize(
    "air",
    [FakeAir(characteristics=()), FakeAir(characteristics=(SERIAL_NUMBER,), value=b"\x01\x02\x03")],
    ids=["missing", "rubbish"],
)
@virtual_time
async def test_a_recorder_that_can_not_be_identified_raises_suspicion(air: FakeAir) -> None:
    """After a firmware update its services may be elsewhere: the radio has them read anew before the next visit."""
    device, _ = packet()
    link = Link(device, adapter="hci0", rssi=-60, notify=NotifyMode.AUTO, backend=air.adapter().client_backend)
    await link.open()
    try:
        with pytest.raises(IdentityError):
            await read_serial(link)
        assert link.suspicion
    finally:
        await link.close()


@virtual_time
async def test_a_recorder_that_tells_its_serial_raises_none() -> None:
    """Old firmware lacks much, and is not forgotten for that."""
    air = FakeAir(characteristics=(SERIAL_NUMBER,))
    device, _ = packet()
    link = Link(device, adapter="hci0", rssi=-60, notify=NotifyMode.AUTO, backend=air.adapter().client_backend)
    await link.open()
    try:
        assert await read_serial(link) == "SERIAL0001"
        assert link.suspicion is None
    finally:
        await link.close()
