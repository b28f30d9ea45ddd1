import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from bleak.exc import BleakDBusError, BleakDeviceNotFoundError
from structlog.testing import capture_logs

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError, ConnectError, ConnectKind
from bota_gateway.radio import Adapter, Radio, Sighting
from bota_gateway.radio.const import CLEANUP_S, CONNECT_HARD_S, END_TURN_S
from support.fake_bleak import FakeAir
from support.virtual_time import virtual_time

ONE = "C0:FF:EE:00:00:01"
TWO = "C0:FF:EE:00:00:02"


@asynccontextmanager
async def radio_on(*airs: FakeAir, max_links: int = 3) -> AsyncIterator[Radio]:
    """A radio at work, with an adapter on each air."""
    adapters = [air.adapter(f"hci{number}") for number, air in enumerate(airs)]
    radio = Radio(adapters, RadioSettings(max_links=max_links), lambda: 0.0)
    task = asyncio.create_task(radio.run())
    await asyncio.sleep(0.1)
    try:
        yield radio
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def sight(radio: Radio, air: FakeAir, address: str = ONE) -> Sighting:
    """Let a recorder advertise; what the radio makes of it."""
    air.advertise(address)
    await asyncio.sleep(0)
    return radio.sightings[address]


async def hold(radio: Radio, sighting: Sighting, seconds: float) -> None:
    async with radio.connect(sighting):
        await asyncio.sleep(seconds)


async def hang() -> None:
    await asyncio.Event().wait()


async def two_seconds() -> None:
    await asyncio.sleep(2)


def clean(radio: Radio, air: FakeAir) -> bool:
    """Nothing is left of earlier connects, and the scanner is at work."""
    return not air.clients and not air.connecting and bool(air.scanners) and radio.scanners["hci0"].scanning


def test_a_radio_needs_an_adapter() -> None:
    """Without one there is nothing to run, and the operator is told what to check."""
    with pytest.raises(AdapterError, match="no Bluetooth adapter") as caught:
        Radio([], RadioSettings(), lambda: 0.0)
    assert "rfkill" in caught.value.next_step


@virtual_time
async def test_a_change_is_told_when_a_recorder_appears() -> None:
    """Who waits for changes learns of a new recorder."""
    air = FakeAir()
    async with radio_on(air) as radio:
        waiter = asyncio.create_task(radio.wait_for_change(radio.revision))
        await sight(radio, air)
        assert await waiter == radio.revision


@virtual_time
async def test_a_link_lives_inside_its_block() -> None:
    """Connected inside, disconnected after it; while held, the recorder is not among the sightings."""
    air = FakeAir()
    async with radio_on(air) as radio:
        sighting = await sight(radio, air)
        async with radio.connect(sighting) as link:
            assert (link.address, link.adapter, link.rssi, link.mtu) == (ONE, "hci0", -60, 247)
            assert not radio.sightings
            air.advertise(ONE)
            assert not radio.sightings
        assert link.lost.is_set()
        revision = radio.revision
        await sight(radio, air)
        assert radio.revision == revision + 1
        assert clean(radio, air)


@virtual_time
async def test_connects_of_one_adapter_never_overlap() -> None:
    """Eight at once lost three on BlueZ 5.66; one at a time, all succeed, in the order asked for."""
    air = FakeAir(connect=two_seconds)
    async with radio_on(air, max_links=10) as radio:
        addresses = [f"C0:FF:EE:00:01:{number:02X}" for number in range(8)]
        sightings = [await sight(radio, air, address) for address in addresses]
        await asyncio.gather(*(hold(radio, sighting, 30) for sighting in sightings))
        assert air.most_connecting == 1
        assert [line.split()[1] for line in air.told if line.startswith("connect ")] == addresses
        assert clean(radio, air)


@virtual_time
async def test_a_link_is_not_ended_while_another_is_made() -> None:
    """Nor is one made while another ends: Linux 6.1 loses track of both. Each waits for the other."""
    air = FakeAir(connect=two_seconds, disconnect=two_seconds)
    began: dict[str, float] = {}
    async with radio_on(air) as radio, asyncio.TaskGroup() as tasks:
        loop = asyncio.get_running_loop()
        one, two = await sight(radio, air, ONE), await sight(radio, air, TWO)
        first = tasks.create_task(hold(radio, one, 0.5))
        second = tasks.create_task(hold(radio, two, 0.5))
        while not first.done() or not second.done():
            began |= {what: loop.time() for what in air.told if what not in began}
            await asyncio.sleep(0.01)
    order = [f"connect {ONE}", f"connect {TWO}", f"disconnect {ONE}", f"disconnect {TWO}"]
    waits = [began[after] - began[before] for before, after in pairwise(order)]
    assert all(wait > 1.9 for wait in waits), waits


@virtual_time
async def test_a_link_does_not_wait_long_for_a_connect_that_hangs() -> None:
    """A held recorder is invisible to its owner's phone, so a connect to one that has left does not keep it."""
    air = FakeAir()
    async with radio_on(air) as radio, asyncio.TaskGroup() as tasks:
        one, two = await sight(radio, air, ONE), await sight(radio, air, TWO)
        held = tasks.create_task(hold(radio, one, 1))
        await asyncio.sleep(0.5)
        air.connect = hang
        gone = tasks.create_task(hold(radio, two, 1))
        await asyncio.sleep(0.5 + END_TURN_S - 0.1)
        assert not held.done()
        await asyncio.sleep(0.2)
        assert held.done()
        gone.cancel()


@virtual_time
async def test_two_adapters_connect_at_the_same_time() -> None:
    """Turns are per adapter."""
    airs = FakeAir(connect=two_seconds), FakeAir(connect=two_seconds)
    loop = asyncio.get_running_loop()
    async with radio_on(*airs) as radio:
        sightings = await sight(radio, airs[0], ONE), await sight(radio, airs[1], TWO)
        began = loop.time()
        await asyncio.gather(*(hold(radio, sighting, 1) for sighting in sightings))
        assert loop.time() - began == pytest.approx(3)


@virtual_time
async def test_the_scanner_rests_while_connecting_and_only_then() -> None:
    """A scan can cancel a connect on some adapters; a held link needs no rest."""
    air = FakeAir(connect=two_seconds)
    async with radio_on(air) as radio:
        sighting = await sight(radio, air)
        task = asyncio.create_task(hold(radio, sighting, 10))
        await asyncio.sleep(1)
        assert not air.scanners
        await asyncio.sleep(2)
        assert air.clients
        assert air.scanners
        await task
    assert not air.scanned_while_connecting


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BleakDeviceNotFoundError(ONE, "removed from BlueZ"), ConnectKind.GONE),
        (BleakDBusError("org.bluez.Error.Failed", ["le-connection-abort-by-local"]), ConnectKind.TRANSIENT),
        (BleakDBusError("org.bluez.Error.InProgress", ["In Progress"]), ConnectKind.BUSY),
        (TimeoutError(), ConnectKind.TIMEOUT),
    ],
    ids=repr,
)
@virtual_time
async def test_a_failed_connect_is_classified_and_the_next_starts_clean(error: Exception, kind: ConnectKind) -> None:
    """The kind, code and remedy come with the error; the backend is told to disconnect, and scanning goes on."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise error

    air = FakeAir(connect=fail)
    async with radio_on(air) as radio:
        sighting = await sight(radio, air)
        with capture_logs() as logs, pytest.raises(ConnectError) as caught:
            await hold(radio, sighting, 1)
        assert (caught.value.kind, caught.value.error_code) == (kind, f"radio_connect_{kind}")
        assert caught.value.next_step
        assert [entry["kind"] for entry in logs if entry["event"] == "connect_failed"] == [str(kind)]
        assert air.told[-1] == f"disconnect {ONE}"
        await asyncio.sleep(0.1)
        assert clean(radio, air)
        assert (ONE in radio.sightings) == (kind is not ConnectKind.GONE)
        air.connect = two_seconds
        await hold(radio, sighting, 1)


@virtual_time
async def test_a_connect_that_hangs_is_given_up_in_bounded_time() -> None:
    """A hung bluetoothd neither connects nor tidies up; the adapter is free again all the same."""
    air = FakeAir(connect=hang, disconnect=hang)
    loop = asyncio.get_running_loop()
    async with radio_on(air) as radio:
        sighting = await sight(radio, air)
        began = loop.time()
        with pytest.raises(ConnectError) as caught:
            await hold(radio, sighting, 1)
        assert caught.value.kind is ConnectKind.TIMEOUT
        assert loop.time() - began < 2 * CONNECT_HARD_S
        air.connect = air.disconnect = two_seconds
        await hold(radio, sighting, 1)
        await asyncio.sleep(0.1)
        assert clean(radio, air)


@pytest.mark.parametrize("after", [0.0, 0.5, 1.0, 2.5, 3.5, 5.0, 20.0])
@virtual_time
async def test_cancelling_at_any_point_leaves_nothing_behind(after: float) -> None:
    """Cancelled while pausing the scan, connecting, or holding: disconnected, place and turn free, scanning again."""

    async def slowly() -> None:
        await asyncio.sleep(1)

    async def connect_slowly() -> None:
        try:
            await asyncio.sleep(3)
        except asyncio.CancelledError:
            await asyncio.sleep(CLEANUP_S / 2)
            raise

    air = FakeAir(connect=connect_slowly, disconnect=slowly, scan_stop=slowly)
    async with radio_on(air, max_links=1) as radio:
        sighting = await sight(radio, air)
        task = asyncio.create_task(hold(radio, sighting, 60))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(2)
        assert clean(radio, air)
        await hold(radio, sighting, 1)
        await asyncio.sleep(2)
        assert clean(radio, air)


@virtual_time
async def test_a_waiting_connect_can_be_cancelled_without_harm_to_the_others() -> None:
    """Cancelled in the queue: the one before and the one after are served."""
    air = FakeAir(connect=two_seconds)
    async with radio_on(air) as radio:
        addresses = [ONE, TWO, "C0:FF:EE:00:00:03"]
        tasks = [asyncio.create_task(hold(radio, await sight(radio, air, address), 1)) for address in addresses]
        await asyncio.sleep(1)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
        assert f"connect {TWO}" not in air.told


@virtual_time
async def test_links_of_one_adapter_are_bounded() -> None:
    """Small controllers hold few links: the next one waits until a place is free."""
    air = FakeAir()
    most = 0
    async with radio_on(air, max_links=2) as radio:

        async def visit(sighting: Sighting) -> None:
            nonlocal most
            async with radio.connect(sighting):
                most = max(most, len(air.clients))
                await asyncio.sleep(5)

        sightings = [await sight(radio, air, f"C0:FF:EE:00:02:{number:02X}") for number in range(5)]
        await asyncio.gather(*map(visit, sightings))
    assert most == 2


@virtual_time
async def test_the_adapter_that_hears_it_best_connects() -> None:
    """The choice follows the latest sightings, not the one the visit was planned with."""
    near, far = FakeAir(), FakeAir()
    async with radio_on(far, near) as radio:
        planned = await sight(radio, far)
        near.advertise(ONE, rssi=-40)
        async with radio.connect(planned) as link:
            assert link.adapter == "hci1"
            assert near.clients
        assert not far.clients


@virtual_time
async def test_one_recorder_is_not_connected_twice() -> None:
    """A second connect to a held recorder is refused at once instead of disturbing the first."""
    air = FakeAir(connect=two_seconds)
    async with radio_on(air) as radio:
        sighting = await sight(radio, air)
        task = asyncio.create_task(hold(radio, sighting, 10))
        await asyncio.sleep(1)
        with pytest.raises(ConnectError) as caught:
            await hold(radio, sighting, 1)
        assert caught.value.kind is ConnectKind.BUSY
        await task


@virtual_time
async def test_a_sighting_of_a_strange_adapter_is_refused() -> None:
    """An adapter that is no longer in use can't connect."""
    air = FakeAir()
    async with radio_on(air) as radio:
        sighting = await sight(radio, air)
    other = Radio([Adapter("hci7")], RadioSettings(), lambda: 0.0)
    with pytest.raises(AdapterError, match="hci0"):
        await hold(other, sighting, 1)
