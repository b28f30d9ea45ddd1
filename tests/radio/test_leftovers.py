"""What a killed gateway leaves in BlueZ, on a bus with a bluetoothd of ours."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dbus_fast import Variant
from structlog.testing import capture_logs

from bota_gateway.radio import bluez as bluez_calls
from bota_gateway.radio import leftovers
from bota_gateway.radio.leftovers import end_leftovers
from support.fake_bluez import DEVICE, FakeBlueZ, needs_dbus, system_bus

pytestmark = [needs_dbus, pytest.mark.timeout(60)]

ONE = "C0:FF:EE:00:00:01"
TWO = "C0:FF:EE:00:00:02"


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeBlueZ]:
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address) as daemon:
        daemon.add_adapter()
        yield daemon


def nobodys(_address: str) -> bool:
    return False


def ended(bluez: FakeBlueZ) -> list[str]:
    """Addresses of the devices that were disconnected, in order."""
    return [path[-17:].replace("_", ":") for member, path, _ in bluez.calls if member == "Disconnect"]


async def test_every_link_to_a_recorder_is_ended(bluez: FakeBlueZ) -> None:
    """Also one that the gateway was killed on before its services were known; each is told."""
    paths = [bluez.advertise(address, connected=True) for address in (ONE, TWO)]
    with capture_logs() as logs:
        assert await end_leftovers("hci0", is_ours=nobodys) == 2
    assert not any(bluez.objects[path][DEVICE]["Connected"].value for path in paths)
    assert [entry["address"] for entry in logs if entry["event"] == "leftover_link_ended"] == [ONE, TWO]


async def test_a_connect_that_was_under_way_is_cancelled(bluez: FakeBlueZ) -> None:
    """BlueZ would answer InProgress to the next; it does not tell which recorder that is, so each is cancelled."""
    bluez.advertise(ONE)
    assert await end_leftovers("hci0", is_ours=nobodys) == 0
    assert ended(bluez) == [ONE]


async def test_links_of_others_and_of_this_life_are_left_alone(bluez: FakeBlueZ) -> None:
    """A keyboard is no recorder; a recorder that is held now is not left over; other adapters are not asked about."""
    bluez.add_adapter("hci1", address="00:1A:7D:00:00:02")
    bluez.advertise("AA:BB:CC:00:00:01", name="Keyboard", connected=True, also={"Paired": Variant("b", True)})
    bluez.advertise(ONE, connected=True)
    bluez.advertise(TWO, hci="hci1", connected=True)
    assert await end_leftovers("hci0", is_ours=lambda address: address == ONE) == 0
    assert not ended(bluez)


async def test_one_that_can_not_be_ended_holds_up_no_other(bluez: FakeBlueZ) -> None:
    """It was gone already, say."""
    bluez.advertise(ONE, connected=True)
    bluez.refusals["Disconnect"] = ("org.bluez.Error.NotConnected", "Not Connected")
    assert await end_leftovers("hci0", is_ours=nobodys) == 1


async def test_a_search_that_fails_is_told_and_stops_nothing(bluez: FakeBlueZ) -> None:
    """The scanner finds out what is wrong with the adapter, and says it better."""
    bluez.die()
    with capture_logs() as logs:
        assert await end_leftovers("hci0", is_ours=nobodys) is None
    assert [entry["event"] for entry in logs] == ["leftover_search_failed"]


async def test_a_bluez_that_answers_nothing_does_not_keep_the_scanner_for_ever(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that is left would cost the whole wait for an answer; what is not ended now is found at the next look."""
    monkeypatch.setattr(leftovers, "LEFTOVERS_S", 0.5)
    for number in range(20):
        bluez.advertise(f"C0:FF:EE:00:00:{number:02X}", connected=True)
    bluez.refusals["Disconnect"] = None
    monkeypatch.setattr(bluez_calls, "BLUEZ_CALL_S", 0.2)
    assert await end_leftovers("hci0", is_ours=nobodys) == 20
    assert len(ended(bluez)) < 20
