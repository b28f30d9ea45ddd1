import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.protocol.uuids import CONTROL_SERVICE, MANUFACTURER_ID
from bota_gateway.radio.const import ADDRESSES_KEPT, FORGET_S, PRESENT_S, RSSI_UNKNOWN, STALE_S, STRONGER_DB
from bota_gateway.radio.sightings import SightingBook
from support.fake_bleak import packet
from support.virtual_time import VirtualTimeLoop, virtual_time

ONE = "C0:FF:EE:00:00:01"
TWO = "C0:FF:EE:00:00:02"
MAC = bytes.fromhex("a1a2a3a4a5a6")
WALL = 1_760_000_000.0


def book() -> SightingBook:
    return SightingBook(lambda: WALL)


def hear(pages: SightingBook, address: str = ONE, *, adapter: str = "hci0", **said: Any) -> None:
    pages.heard(adapter, *packet(address, **said))


@virtual_time
async def test_name_and_manufacturer_data_of_two_packets_are_merged() -> None:
    """The name is in the advertisement, the address printed on the recorder in the scan response: both are kept."""
    pages = book()
    hear(pages, name="Bota Pin")
    hear(pages, name=None, manufacturer_data={MANUFACTURER_ID: MAC}, rssi=-71)
    hear(pages, name="Bota Pin", rssi=-70)
    seen = pages.sightings[ONE]
    assert (seen.name, seen.advertised_mac, seen.rssi) == ("Bota Pin", "a1:a2:a3:a4:a5:a6", -70)
    assert (seen.adapter, seen.seen_at, seen.legacy) == ("hci0", WALL, None)
    assert seen.at == asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    "said",
    [
        {"name": "Bota Pin"},
        {"name": "Bota_notepin_7"},
        {"name": None, "manufacturer_data": {MANUFACTURER_ID: MAC}},
        {"name": None, "manufacturer_data": {MANUFACTURER_ID: b""}},
        {"name": "Kitchen", "service_uuids": (CONTROL_SERVICE.upper(),)},
    ],
    ids=str,
)
@virtual_time
async def test_one_sign_makes_a_recorder(said: dict[str, Any]) -> None:
    """Company id, service or name: any of them makes a candidate."""
    pages = book()
    hear(pages, **said)
    assert list(pages.sightings) == [ONE]


@pytest.mark.parametrize(
    "said",
    [
        {"name": "bota pin"},
        {"name": "My Bota"},
        {"name": None},
        {"name": None, "manufacturer_data": {0x004C: b"\x10\x05\x00"}},
        {"name": "Watch", "service_uuids": ("0000180d-0000-1000-8000-00805f9b34fb",)},
        {"name": None, "manufacturer_data": {0x0101: b"\x02\x01"}},
    ],
    ids=str,
)
@virtual_time
async def test_anything_else_is_no_recorder(said: dict[str, Any]) -> None:
    """Other people's devices are not looked at; legacy data alone proves nothing, for it carries no company id."""
    pages = book()
    hear(pages, **said)
    assert not pages.sightings
    assert pages.revision == 0


@virtual_time
async def test_legacy_data_is_put_together_again() -> None:
    """BlueZ takes the first two bytes of the legacy format for a company id; they are model and version."""
    pages = book()
    hear(pages, name="Bota-Note-1", manufacturer_data={3 | 1 << 8: bytes([4, 2, 90])})
    legacy = pages.sightings[ONE].legacy
    assert legacy is not None
    assert (legacy.model, legacy.firmware, legacy.pairing_state) == ("note", "1.4.0", 2)
    assert pages.sightings[ONE].advertised_mac is None


@virtual_time
async def test_a_call_without_a_signal_is_no_sighting() -> None:
    """BlueZ reports property changes of devices that nobody hears; bleak passes them on with RSSI -127."""
    pages = book()
    hear(pages, rssi=RSSI_UNKNOWN)
    assert not pages.sightings


@virtual_time
async def test_repeated_advertisements_are_no_change() -> None:
    """Who waits for changes is not woken ten times a second by one recorder lying on the table."""
    pages = book()
    hear(pages)
    revision = pages.revision
    for _ in range(20):
        await asyncio.sleep(1)
        hear(pages, rssi=-50)
    assert pages.revision == revision
    hear(pages, TWO)
    assert pages.revision == revision + 1


@virtual_time
async def test_a_recorder_that_comes_back_is_a_change() -> None:
    """Silence longer than `PRESENT_S` ends a presence; the next advertisement begins a new one."""
    pages = book()
    hear(pages)
    revision = pages.revision
    await asyncio.sleep(PRESENT_S + 1)
    hear(pages)
    assert pages.revision == revision + 1


@virtual_time
async def test_waiting_ends_with_the_next_change() -> None:
    """A waiter gets the revision of a change, and at once if it has missed one."""
    pages = book()
    waiter = asyncio.create_task(pages.wait_for_change(pages.revision))
    await asyncio.sleep(1)
    assert not waiter.done()
    hear(pages)
    assert await waiter == pages.revision
    assert await pages.wait_for_change(pages.revision - 1) == pages.revision


@virtual_time
async def test_the_adapter_that_hears_it_best_is_chosen() -> None:
    """Clearly stronger takes over; about as strong does not, so that noise switches nothing."""
    pages = book()
    hear(pages, adapter="hci0", rssi=-70)
    hear(pages, adapter="hci1", rssi=-70 + STRONGER_DB - 1)
    assert pages.sightings[ONE].adapter == "hci0"
    hear(pages, adapter="hci1", rssi=-70 + STRONGER_DB)
    assert pages.sightings[ONE].adapter == "hci1"
    hear(pages, adapter="hci0", rssi=-70)
    assert pages.sightings[ONE].adapter == "hci1"


@virtual_time
async def test_a_deaf_adapter_loses_its_recorder() -> None:
    """When the stronger adapter hears it no longer, a weaker one takes over."""
    pages = book()
    hear(pages, adapter="hci0", rssi=-40)
    await asyncio.sleep(PRESENT_S + 1)
    hear(pages, adapter="hci1", rssi=-90)
    assert pages.sightings[ONE].adapter == "hci1"


@virtual_time
async def test_a_held_recorder_is_not_sighted() -> None:
    """Once connected, what BlueZ reports of it is our own doing; afterwards its advertising is an appearance."""
    pages = book()
    hear(pages)
    with pages.holding(ONE):
        hear(pages, rssi=-42)
        assert pages.sightings[ONE].rssi == -42
        pages.connected(ONE)
        assert not pages.sightings
        hear(pages)
        assert not pages.sightings
    revision = pages.revision
    hear(pages)
    assert list(pages.sightings) == [ONE]
    assert pages.revision == revision + 1


@virtual_time
async def test_old_sightings_are_forgotten() -> None:
    """BlueZ has dropped the device by then, so it is of no use for connecting."""
    pages = book()
    hear(pages, ONE)
    await asyncio.sleep(FORGET_S + 1)
    hear(pages, TWO)
    assert list(pages.sightings) == [TWO]


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(max_size=8) | st.just("Bota Pin"),
            st.dictionaries(st.integers(0, 0xFFFF) | st.just(MANUFACTURER_ID), st.binary(max_size=12), max_size=3),
            st.lists(st.text(max_size=4) | st.just(CONTROL_SERVICE), max_size=3),
            st.integers(-127, 20),
        ),
        max_size=20,
    )
)
def test_no_advertisement_can_break_the_book(
    packets: list[tuple[str | None, dict[int, bytes], list[str], int]],
) -> None:
    """Anybody may send anything; a recorder once recognised stays one while it is heard."""

    async def play() -> None:
        pages = book()
        recognised = False
        for name, manufacturer_data, services, rssi in packets:
            hear(pages, name=name, manufacturer_data=manufacturer_data, service_uuids=tuple(services), rssi=rssi)
            recognised |= ONE in pages.sightings
            assert (ONE in pages.sightings) == recognised

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play())


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * ADDRESSES_KEPT), st.sampled_from(["Bota Pin", "Phone", None]), st.booleans()),
        max_size=200,
    )
)
def test_memory_does_not_follow_the_number_of_advertisers(crowd: list[tuple[int, str | None, bool]]) -> None:
    """Addresses kept are bounded whoever advertises, and every sighting is of an address that is kept."""

    async def play() -> None:
        pages = book()
        for number in range(ADDRESSES_KEPT):
            hear(pages, f"D0:00:00:00:{number >> 8:02X}:{number & 255:02X}", name=None)
        for number, name, other in crowd:
            address = f"C0:00:00:00:{number >> 8:02X}:{number & 255:02X}"
            hear(pages, address, name=name, adapter="hci1" if other else "hci0")
            assert len(pages._heard) <= ADDRESSES_KEPT
        for seen in pages.sightings.values():
            assert (seen.adapter, seen.address) in pages._heard

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play())


@virtual_time
async def test_how_a_recorder_is_heard_after_a_link_is_what_that_adapter_hears_first() -> None:
    """Not what another adapter hears, nor of another address, nor what a call without a signal or a later one says."""
    pages = book()
    hear(pages, rssi=-60)
    with pages.holding(ONE):
        pages.connected(ONE)
    asked = asyncio.create_task(pages.heard_again("hci0", ONE))
    await asyncio.sleep(STALE_S)
    hear(pages, adapter="hci1", rssi=-50)
    hear(pages, TWO, rssi=-51)
    hear(pages, rssi=RSSI_UNKNOWN)
    await asyncio.sleep(20)
    assert not asked.done()
    hear(pages, rssi=-77)
    hear(pages, rssi=-52)
    assert await asked == -77


@virtual_time
async def test_what_is_told_with_the_end_of_a_link_is_not_heard_after_it() -> None:
    """The signal strength that comes with it may be that of before the link."""
    pages = book()
    asked = asyncio.create_task(pages.heard_again("hci0", ONE))
    await asyncio.sleep(STALE_S / 2)
    hear(pages, rssi=-60)
    await asyncio.sleep(STALE_S / 2)
    hear(pages, rssi=-77)
    assert await asked == -77


@virtual_time
async def test_a_recorder_that_is_linked_again_was_not_heard_in_between() -> None:
    """What is heard after that link is another link's story."""
    pages = book()
    asked = asyncio.create_task(pages.heard_again("hci0", ONE))
    await asyncio.sleep(STALE_S)
    with pages.holding(ONE):
        pages.connected(ONE)
    hear(pages, rssi=-77)
    assert await asked is None
