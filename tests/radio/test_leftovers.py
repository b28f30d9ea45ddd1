import asyncio
from typing import Any, Self

import pytest
from bleak.args.bluez import BlueZAdapterArgs
from bleak.backends.adapter import BaseBleakAdapter
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError
from structlog.testing import capture_logs

from bota_gateway.config import RadioSettings
from bota_gateway.protocol.uuids import BOTA_SERVICES
from bota_gateway.radio import Adapter, Radio
from bota_gateway.radio.leftovers import end_leftover_links
from support.fake_bleak import FakeAir, packet
from support.virtual_time import virtual_time


def with_leftovers(air: FakeAir, *addresses: str, error: Exception | None = None) -> Adapter:
    """An adapter below which a daemon has kept connections."""

    class Keeper(BaseBleakAdapter):
        @classmethod
        async def get(cls, *, bluez: BlueZAdapterArgs | None = None, **_kwargs: Any) -> Self:
            assert bluez == {"adapter": "hci0"}
            return cls()

        async def get_connected_devices(self, service_uuids: frozenset[str]) -> list[BLEDevice]:
            assert service_uuids == BOTA_SERVICES
            if error:
                raise error
            return [packet(address)[0] for address in addresses]

    plain = air.adapter("hci0")
    return Adapter("hci0", None, plain.scanner_backend, plain.client_backend, Keeper)


@virtual_time
async def test_links_of_an_earlier_life_are_ended_before_scanning() -> None:
    """A recorder whose link outlived a killed gateway would be invisible for ever."""
    air = FakeAir()
    adapter = with_leftovers(air, "C0:FF:EE:00:00:01", "C0:FF:EE:00:00:02")
    radio = Radio([adapter], RadioSettings(), lambda: 0.0)
    with capture_logs() as logs:
        task = asyncio.create_task(radio.run())
        await asyncio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert air.told[:5] == [
        "connect C0:FF:EE:00:00:01",
        "disconnect C0:FF:EE:00:00:01",
        "connect C0:FF:EE:00:00:02",
        "disconnect C0:FF:EE:00:00:02",
        "scan start",
    ]
    assert [entry["event"] for entry in logs].count("leftover_link_ended") == 2


@virtual_time
async def test_a_takeover_that_fails_stops_nothing() -> None:
    """The second link is ended although the first could not be taken over."""

    async def fail() -> None:
        raise BleakError("failed to discover services, device disconnected")

    air = FakeAir(connect=fail)
    assert await end_leftover_links(with_leftovers(air, "C0:FF:EE:00:00:01", "C0:FF:EE:00:00:02")) == 2
    assert [line for line in air.told if line.startswith("disconnect")] == [
        "disconnect C0:FF:EE:00:00:01",
        "disconnect C0:FF:EE:00:00:02",
    ]


@virtual_time
async def test_a_search_that_fails_is_told_and_stops_nothing() -> None:
    """The scanner finds out what is wrong with the adapter, and says it better."""
    with capture_logs() as logs:
        assert await end_leftover_links(with_leftovers(FakeAir(), error=BleakError("adapter 'hci0' not found"))) == 0
    assert [entry["event"] for entry in logs] == ["leftover_search_failed"]


@virtual_time
async def test_a_backend_without_a_daemon_has_no_leftovers() -> None:
    """Its connections end with the process."""
    air = FakeAir()
    assert await end_leftover_links(air.adapter()) == 0
    assert not air.told
