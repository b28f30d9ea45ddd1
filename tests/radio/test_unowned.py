"""What BlueZ remembers for nobody is dropped, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dbus_fast import Variant

from bota_gateway.radio.cached import Unowned, is_unowned
from bota_gateway.radio.const import UNOWNED_AT_ONCE, UNOWNED_KEPT_S
from bota_gateway.radio.sightings import SightingBook
from support.fake_bleak import packet
from support.fake_bluez import FakeBlueZ, Properties, needs_dbus, system_bus

pytestmark = [needs_dbus, pytest.mark.timeout(60)]

RANDOM: Properties = {"AddressType": Variant("s", "random")}
KEPT = ("Connected", "Paired", "Bonded", "Trusted", "Blocked")


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeBlueZ]:
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address) as daemon:
        daemon.add_adapter()
        yield daemon


class Clock:
    """Goes ahead of the loop's, whose time is real because the bus is."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


def private(number: int) -> str:
    """A resolvable private address."""
    return f"4{number >> 16 & 15:X}:00:00:00:{number >> 8 & 255:02X}:{number & 255:02X}"


async def test_a_recorder_that_fell_silent_is_dropped_after_an_hour(bluez: FakeBlueZ, clock: Clock) -> None:
    """Not before; and one that is still heard is kept, as is one that is held."""
    book = SightingBook(lambda: 0.0)
    unowned = Unowned("hci0", book, clock)
    silent, heard, held = (bluez.advertise(f"C0:FF:EE:00:00:0{number}") for number in (1, 2, 3))
    assert await unowned.drop("hci0") == 0
    clock.ahead = UNOWNED_KEPT_S - 1
    assert await unowned.drop("hci0") == 0
    clock.ahead = UNOWNED_KEPT_S + 1
    book.heard("hci0", *packet("C0:FF:EE:00:00:02"))
    next(iter(book._heard.values())).at += clock.ahead
    with book.holding("C0:FF:EE:00:00:03"):
        assert await unowned.drop("hci0") == 1
    assert bluez.devices == [heard, held]
    assert silent not in bluez.objects


@pytest.mark.parametrize("kept", KEPT)
async def test_what_somebody_decided_about_is_never_dropped(bluez: FakeBlueZ, clock: Clock, kept: str) -> None:
    """Connected, paired, trusted or blocked, by whomever, a recorder or not."""
    unowned = Unowned("hci0", SightingBook(lambda: 0.0), clock)
    bluez.advertise("C0:FF:EE:00:00:01", also={kept: Variant("b", True)})
    bluez.advertise(private(1), name="Phone", also={**RANDOM, kept: Variant("b", True)})
    await unowned.drop("hci0")
    clock.ahead = 100 * UNOWNED_KEPT_S
    assert await unowned.drop("hci0") == 0
    assert len(bluez.devices) == 2


async def test_strangers_with_addresses_that_stay_are_left_to_others(bluez: FakeBlueZ, clock: Clock) -> None:
    """A thermometer that some other program reads now and then is not ours to forget; nor is another adapter's."""
    bluez.add_adapter("hci1", address="00:1A:7D:00:00:02")
    unowned = Unowned("hci0", SightingBook(lambda: 0.0), clock)
    bluez.advertise("AA:BB:CC:00:00:01", name="Thermometer")
    bluez.advertise("C3:00:00:00:00:01", name="Lock", also=RANDOM)
    bluez.advertise("C0:FF:EE:00:00:01", hci="hci1")
    await unowned.drop("hci0")
    clock.ahead = 100 * UNOWNED_KEPT_S
    assert await unowned.drop("hci0") == 0


async def test_bluez_does_not_grow_with_the_phones_that_pass(bluez: FakeBlueZ, clock: Clock) -> None:
    """Ten new ones each ten minutes, for half a day, where BlueZ forgets none: it never has more than 70 of 720."""
    unowned = Unowned("hci0", SightingBook(lambda: 0.0), clock)
    most = 0
    for look in range(12 * 6):
        clock.ahead = look * 600.0
        for number in range(10):
            bluez.advertise(private(look * 10 + number), name="Phone", also=RANDOM)
        await unowned.drop("hci0")
        most = max(most, len(bluez.devices))
    assert 60 <= most <= 10 * (UNOWNED_KEPT_S / 600 + 1)


async def test_a_great_number_is_dropped_in_several_goes(bluez: FakeBlueZ, clock: Clock) -> None:
    """Each is a write to the card; the rest follows at the next look."""
    unowned = Unowned("hci0", SightingBook(lambda: 0.0), clock)
    for number in range(UNOWNED_AT_ONCE + 5):
        bluez.advertise(private(number), name="Phone", also=RANDOM)
    await unowned.drop("hci0")
    clock.ahead = UNOWNED_KEPT_S + 1
    assert await unowned.drop("hci0") == UNOWNED_AT_ONCE
    assert await unowned.drop("hci0") == 5


async def test_a_bluez_that_refuses_is_asked_again_later(bluez: FakeBlueZ, clock: Clock) -> None:
    """Nothing is raised, and nothing is thought to be gone."""
    unowned = Unowned("hci0", SightingBook(lambda: 0.0), clock)
    bluez.advertise(private(1), name="Phone", also=RANDOM)
    await unowned.drop("hci0")
    clock.ahead = UNOWNED_KEPT_S + 1
    bluez.refusals["RemoveDevice"] = ("org.bluez.Error.NotReady", "Resource Not Ready")
    assert await unowned.drop("hci0") == 0
    del bluez.refusals["RemoveDevice"]
    assert await unowned.drop("hci0") == 1


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"Address": "00:00:00:00:00:01", "Name": "Bota Pin"}, True),
        ({"Address": "00:00:00:00:00:01", "ManufacturerData": {0xB07A: b""}}, True),
        ({"Address": "00:00:00:00:00:01"}, False),
        ({"Address": "7F:00:00:00:00:01", "AddressType": "random"}, True),
        ({"Address": "3F:00:00:00:00:01", "AddressType": "random"}, True),
        ({"Address": "C0:00:00:00:00:01", "AddressType": "random"}, False),
        ({"Address": "7F:00:00:00:00:01", "AddressType": "public"}, False),
    ],
)
def test_recorders_and_private_addresses_are_nobodys(device: dict[str, object], expected: bool) -> None:
    """By what BlueZ remembers of them."""
    assert is_unowned(device) is expected
