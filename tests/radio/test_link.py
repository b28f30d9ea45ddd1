import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError
from structlog.testing import capture_logs

from bota_gateway.config import NotifyMode
from bota_gateway.errors import GattError, LinkLostError, PairingError
from bota_gateway.protocol import uuids
from bota_gateway.radio import Link
from bota_gateway.radio.const import CLEANUP_S, DISCONNECT_S, GATT_S, MTU_SETTLE_S, PAIR_S
from bota_gateway.sync.recorder import read_serial
from support.fake_bleak import FakeAir, FakeClient, Step, packet
from support.virtual_time import virtual_time

SERIAL = uuids.SERIAL_NUMBER
CONTROL = uuids.TRANSFER_CONTROL


@asynccontextmanager
async def linked(air: FakeAir, notify: NotifyMode = NotifyMode.AUTO) -> AsyncIterator[tuple[Link, FakeClient]]:
    """A link, and the backend's side of it."""
    air.characteristics = (SERIAL, CONTROL)
    device, _ = packet()
    link = Link(device, adapter="hci0", rssi=-60, notify=notify, backend=air.adapter().client_backend)
    await link.open()
    (client,) = air.clients
    try:
        yield link, client
    finally:
        await link.close()


async def hang() -> None:
    await asyncio.Event().wait()


def raising(error: Exception) -> Step:
    async def fail() -> None:
        raise error

    return fail


async def subscribe(link: Link) -> None:
    async with link.notifications(CONTROL):
        pass


async def listen(link: Link) -> None:
    async with link.notifications(CONTROL) as notes:
        await notes.batch(600)


OPERATIONS: dict[str, Callable[[Link], Awaitable[object]]] = {
    "read": lambda link: link.read(SERIAL),
    "write": lambda link: link.write(CONTROL, b"\x01"),
    "subscribe": subscribe,
}


@virtual_time
async def test_it_reads_and_writes_with_response() -> None:
    """Every control write asks for a response: the recorders' stack needs it."""
    air = FakeAir()
    async with linked(air) as (link, _):
        assert await link.read(SERIAL.upper()) == b"SERIAL0001"
        await link.write(CONTROL, b"\x07\x08")
    assert air.told[1:3] == ["read 2", "write 3 0708 response=True"]


@virtual_time
async def test_it_knows_what_is_offered() -> None:
    """A characteristic that old firmware lacks is seen without asking the air, and named when used all the same."""
    async with linked(FakeAir()) as (link, _):
        assert link.has(SERIAL)
        assert link.has("2a25")
        assert not link.has(uuids.IDENTITY_SERIAL)
        with pytest.raises(GattError, match=uuids.IDENTITY_SERIAL) as caught:
            await link.read(uuids.IDENTITY_SERIAL)
        assert caught.value.error_code == "radio_gatt_missing"


@virtual_time
async def test_of_two_equal_characteristics_the_first_is_used() -> None:
    """Bleak refuses a UUID that occurs twice; firmware with such a table still works."""
    air = FakeAir()
    device, _ = packet()
    air.characteristics = (SERIAL, CONTROL, SERIAL)
    link = Link(device, adapter="hci0", rssi=-60, notify=NotifyMode.AUTO, backend=air.adapter().client_backend)
    await link.open()
    await link.read(SERIAL)
    assert "read 2" in air.told
    await link.close()


@virtual_time
async def test_the_mtu_is_what_the_characteristics_say() -> None:
    """On BlueZ the client's own figure is always 23."""
    async with linked(FakeAir(mtu=509)) as (link, _):
        assert link.mtu == 509


@virtual_time
async def test_it_waits_for_a_late_mtu_but_not_long() -> None:
    """The MTU may settle after connecting; a recorder that really grants 23 costs `MTU_SETTLE_S` and no more."""
    loop = asyncio.get_running_loop()
    air = FakeAir(mtu=23)
    loop.call_later(MTU_SETTLE_S / 2, setattr, air, "mtu", 247)
    async with linked(air) as (link, _):
        assert link.mtu == 247
    began = loop.time()
    async with linked(FakeAir(mtu=23)) as (link, _):
        assert link.mtu == 23
        assert loop.time() - began == pytest.approx(MTU_SETTLE_S)


@virtual_time
async def test_operations_go_one_at_a_time() -> None:
    """GATT operations of one link never overlap, in the order they were asked for."""
    air = FakeAir()
    busy = 0

    async def one_second() -> None:
        nonlocal busy
        busy += 1
        assert busy == 1
        await asyncio.sleep(1)
        busy -= 1

    air.operation = one_second
    async with linked(air) as (link, _):
        await asyncio.gather(link.read(SERIAL), link.write(CONTROL, b"\x01"), subscribe(link), link.read(SERIAL))
    assert air.told[1:6] == ["read 2", "write 3 01 response=True", "start 3", "read 2", "stop 3"]


@pytest.mark.parametrize("operation", OPERATIONS)
@virtual_time
async def test_a_stalled_operation_times_out(operation: str) -> None:
    """GATT may stall for good, as right after a firmware update: each operation ends within its time."""
    air = FakeAir()
    loop = asyncio.get_running_loop()
    async with linked(air) as (link, _):
        air.operation = hang
        began = loop.time()
        with pytest.raises(GattError) as caught:
            await OPERATIONS[operation](link)
        air.operation = FakeAir().operation
        assert caught.value.error_code == "radio_gatt_timeout"
        assert loop.time() - began == pytest.approx(GATT_S)
        assert not link.lost.is_set()


@pytest.mark.parametrize("operation", OPERATIONS)
@virtual_time
async def test_the_loss_of_the_link_ends_an_operation(operation: str) -> None:
    """An operation does not wait for its time-out when the link is lost under it."""
    air = FakeAir()
    loop = asyncio.get_running_loop()
    with capture_logs() as logs:
        async with linked(air) as (link, client):
            air.operation = hang
            loop.call_later(1, client.drop)
            began = loop.time()
            with pytest.raises(LinkLostError):
                await OPERATIONS[operation](link)
            assert loop.time() - began == pytest.approx(1)
            assert link.lost.is_set()
    assert [entry["event"] for entry in logs] == ["link_lost"]


@virtual_time
async def test_the_loss_of_the_link_ends_every_wait_at_once() -> None:
    """Readers of notifications, operations under way and operations that wait for their turn: all end."""
    air = FakeAir()
    async with linked(air) as (link, client):
        listening = asyncio.create_task(listen(link))
        await asyncio.sleep(1)
        air.operation = hang
        waiting = [asyncio.create_task(link.read(SERIAL)) for _ in range(3)]
        await asyncio.sleep(1)
        client.drop()
        results = await asyncio.wait_for(asyncio.gather(listening, *waiting, return_exceptions=True), 0.1)
        assert [type(result) for result in results] == [LinkLostError] * 4
        with pytest.raises(LinkLostError):
            await link.read(SERIAL)


@pytest.mark.parametrize(
    "error",
    [
        BleakDBusError("org.freedesktop.DBus.Error.NoReply", ["Message recipient disconnected"]),
        BleakDBusError("org.freedesktop.DBus.Error.UnknownObject", ["no such object"]),
        BleakDBusError("org.bluez.Error.Failed", ["Not connected"]),
        BleakError("Service Discovery has not been performed yet"),
        AssertionError(),
        EOFError(),
    ],
    ids=repr,
)
@virtual_time
async def test_a_dead_bluetoothd_is_noticed_at_the_first_failing_call(error: Exception) -> None:
    """Bleak calls no callback then: what the call raises is all there is, and it ends the other waits too."""
    air = FakeAir()
    async with linked(air) as (link, _):
        listening = asyncio.create_task(listen(link))
        await asyncio.sleep(1)
        air.operation = raising(error)
        with pytest.raises(LinkLostError):
            await link.read(SERIAL)
        assert link.lost.is_set()
        with pytest.raises(LinkLostError):
            await listening


@virtual_time
async def test_a_refusal_leaves_the_link_as_it_is() -> None:
    """The recorder says no to one operation; the next one may work."""
    air = FakeAir()
    async with linked(air) as (link, _):
        air.operation = raising(BleakGATTProtocolError(0x80))
        with pytest.raises(GattError) as caught:
            await link.write(CONTROL, b"\x01")
        assert caught.value.refused
        assert link.suspicion is None
        air.operation = FakeAir().operation
        assert await link.read(SERIAL)


@pytest.mark.parametrize("code", [0x01, 0x02, 0x03, 0x06, 0x0A])
@virtual_time
async def test_an_answer_of_something_else_raises_suspicion(code: int) -> None:
    """Handles that were moved by a firmware update lead to what can't be read or written, or to nothing."""
    air = FakeAir()
    async with linked(air) as (link, _):
        air.operation = raising(BleakGATTProtocolError(code))
        with pytest.raises(GattError):
            await link.write(CONTROL, b"\x01")
        assert link.suspicion is not None
        assert CONTROL in link.suspicion


@virtual_time
async def test_a_characteristic_that_is_missing_raises_suspicion() -> None:
    """It may have been added by an update since BlueZ read the services."""
    async with linked(FakeAir()) as (link, _):
        with pytest.raises(GattError, match="has no characteristic") as caught:
            await link.read("00002a99-0000-1000-8000-00805f9b34fb")
        assert caught.value.error_code == "radio_gatt_missing"
        assert "2a99" in str(link.suspicion)


def refusing_until_paired(air: FakeAir) -> None:
    """What the recorder offers is readable over an encrypted link only."""

    async def operate() -> None:
        if not any(line.startswith("pair") for line in air.told):
            raise BleakGATTProtocolError(0x0F)

    air.operation = operate


@virtual_time
async def test_a_recorder_that_demands_encryption_is_paired_once() -> None:
    """The operation that was refused is done then, and pairing is not repeated on this link."""
    air = FakeAir()
    refusing_until_paired(air)
    async with linked(air) as (link, _):
        assert await link.read(SERIAL) == b"SERIAL0001"
        assert await link.read(SERIAL)
        assert (link.pairings, link.pairing_failures) == (1, 0)
    assert air.told.count(f"pair {link.address}") == 1


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (raising(BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"])), "Failed"),
        (raising(BleakDBusError("org.bluez.Error.AuthenticationTimeout", ["Authentication Timeout"])), "Timeout"),
        (hang, "no answer in time"),
    ],
    ids=["refused", "timed out", "hangs"],
)
@virtual_time
async def test_a_pairing_that_fails_is_told_with_its_remedy(pair: Any, reason: str) -> None:
    """The visit ends by an error of its own, in bounded time; it is not tried twice on one link."""
    air = FakeAir(pair=pair)
    refusing_until_paired(air)
    loop = asyncio.get_running_loop()
    async with linked(air) as (link, _):
        air.operation = raising(BleakGATTProtocolError(0x05))
        began = loop.time()
        with pytest.raises(PairingError, match=link.address) as caught:
            await link.read(SERIAL)
        with pytest.raises(PairingError):
            await link.read(SERIAL)
        assert loop.time() - began <= PAIR_S + CLEANUP_S
        assert f"bluetoothctl remove {link.address}" in caught.value.next_step
        assert caught.value.error_code == "radio_pairing_failed"
    assert air.told.count(f"pair {link.address}") == 1


@virtual_time
async def test_pairing_that_does_not_help_is_an_error_too() -> None:
    """BlueZ says paired, and the recorder refuses all the same."""
    air = FakeAir()
    async with linked(air) as (link, _):
        air.operation = raising(BleakDBusError("org.bluez.Error.NotPermitted", ["Not paired"]))
        with pytest.raises(PairingError, match="still refuses"):
            await link.read(SERIAL)
        assert link.pairing_failures == 1


@pytest.mark.parametrize(
    ("mode", "signals"), [(NotifyMode.AUTO, True), (NotifyMode.SIGNAL, True), (NotifyMode.DESCRIPTOR, False)]
)
@virtual_time
async def test_the_notification_mode_is_always_said(mode: NotifyMode, *, signals: bool) -> None:
    """Bleak's default changed twice and one choice crashes bluetoothd 5.66, so none is left to the default."""
    air = FakeAir()
    async with linked(air, mode) as (link, _):
        await subscribe(link)
    assert air.notify_args == [{"use_start_notify": signals}]


@virtual_time
async def test_notifications_come_in_batches_inside_the_block_only() -> None:
    """Subscribed inside the block, unsubscribed after it."""
    air = FakeAir()
    async with linked(air) as (link, client):
        async with link.notifications(CONTROL) as notes:
            client.notify(b"one")
            client.notify(b"two")
            assert await notes.batch(1) == [b"one", b"two"]
        assert not client.subscribers
        assert air.told[-1] == "stop 3"


@virtual_time
async def test_what_a_slow_reader_misses_is_counted_and_told() -> None:
    """Memory is bounded; what does not fit is dropped, counted and logged."""
    with capture_logs() as logs:
        async with linked(FakeAir()) as (link, client), link.notifications(CONTROL, max_bytes=10) as notes:
            for _ in range(3):
                client.notify(b"12345")
            assert await notes.batch(0) == [b"12345", b"12345"]
            assert notes.dropped == 1
    (told,) = [entry for entry in logs if entry["event"] == "notifications_dropped"]
    assert (told["packets"], told["bytes"], told["of_packets"]) == (1, 5, 3)


@virtual_time
async def test_a_failed_unsubscribe_does_not_hide_what_went_wrong() -> None:
    """The error from inside the block comes out of it, not the one of tidying up."""
    air = FakeAir()
    async with linked(air) as (link, _):

        async def fail() -> None:
            async with link.notifications(CONTROL):
                air.operation = raising(BleakGATTProtocolError(0x0E))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        air.operation = FakeAir().operation


@virtual_time
async def test_closing_is_bounded_and_never_raises() -> None:
    """A dead bluetoothd refuses, a hung one never answers: the link is closed for us either way, in bounded time."""
    loop = asyncio.get_running_loop()
    for disconnect in (raising(BleakDBusError("org.freedesktop.DBus.Error.NoReply", [])), hang):
        air = FakeAir(disconnect=disconnect)
        began = loop.time()
        with capture_logs() as logs:
            async with linked(air) as (link, _):
                pass
        assert link.lost.is_set()
        assert loop.time() - began <= DISCONNECT_S + CLEANUP_S
        assert [entry["event"] for entry in logs] == ["link_close_failed"]


@virtual_time
async def test_closing_is_finished_even_when_cancelled() -> None:
    """A recorder that stays connected is invisible to its owner's phone: a cancelled visit still disconnects."""

    async def two_seconds() -> None:
        await asyncio.sleep(2)

    air = FakeAir(disconnect=two_seconds)

    async def visit() -> None:
        async with linked(air):
            pass

    task = asyncio.create_task(visit())
    await asyncio.sleep(1)
    assert air.clients
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not air.clients


@virtual_time
async def test_a_slow_pairing_is_not_cut_short_by_the_limit_of_the_identity() -> None:
    """Cut short it would begin anew at each visit, and never end."""
    air = FakeAir()
    demanded = True

    async def paired() -> None:
        nonlocal demanded
        await asyncio.sleep(PAIR_S - 1)
        demanded = False

    async def refuses() -> None:
        if demanded:
            raise BleakDBusError("org.bluez.Error.NotPermitted", ["Not paired"])

    air.pair, air.operation = paired, refuses
    async with linked(air) as (link, _):
        assert await read_serial(link) == "SERIAL0001"
