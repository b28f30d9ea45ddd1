"""A link to one recorder: GATT operations, one at a time, that always end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import structlog
from bleak import BleakClient
from bleak.args.bluez import BlueZNotifyArgs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError
from bleak.uuids import normalize_uuid_str

from bota_gateway.config import NotifyMode
from bota_gateway.errors import GattError, LinkLostError, PairingError
from bota_gateway.pulse import back_within
from bota_gateway.radio.bounded import EndedError, bounded, uninterrupted
from bota_gateway.radio.classify import BACKEND_FAILURES, describe, is_link_loss, is_out_of_place, needs_pairing
from bota_gateway.radio.const import (
    ATT_HEADER,
    CLEANUP_S,
    CONNECT_HARD_S,
    CONNECT_S,
    DISCONNECT_S,
    END_TURN_S,
    GATT_S,
    MTU_DEFAULT,
    MTU_POLL_S,
    MTU_SETTLE_S,
    NOTIFICATION_BUFFER,
    PAIR_S,
)
from bota_gateway.radio.notifications import NotificationStream

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")

_PAIRING_REMEDY: Final = (
    "Forget old pairings on both sides (bluetoothctl remove ADDRESS; restart the recorder), then it is tried again."
)


class Link:
    """A connected recorder. Made and closed by `Radio.connect`; not usable afterwards."""

    def __init__(
        self,
        device: BLEDevice,
        *,
        adapter: str,
        rssi: int,
        notify: NotifyMode,
        backend: type[BaseBleakClient] | None,
        hci: str | None = None,
        adapter_address: str | None = None,
    ) -> None:
        self.address = device.address
        self.adapter = adapter
        """Name of the adapter that holds the link."""
        self.adapter_address = adapter_address
        """The adapter's own, where BlueZ drives it: it stays when ``hciN`` becomes another one."""
        self.rssi = rssi
        """Signal strength in dBm as last seen before connecting."""
        self.lost = asyncio.Event()
        """Set when the link has ended, from whichever side. It ends every wait on the link."""
        self.notify = NotifyMode.DESCRIPTOR if notify is NotifyMode.DESCRIPTOR else NotifyMode.SIGNAL
        """How its notifications come, where it is BlueZ that brings them."""
        # D-Bus signals unless asked otherwise: bluetoothd 5.66 crashes with AcquireNotify, and bleak's default changed
        # twice (docs/design-notes.md, "Notification mode").
        self._notify_args: BlueZNotifyArgs = {"use_start_notify": self.notify is NotifyMode.SIGNAL}
        self._characteristics: dict[str, BleakGATTCharacteristic] = {}
        self._streams: set[NotificationStream] = set()
        self._one_at_a_time = asyncio.Lock()
        self._closing = False
        self._paired = False
        self.answered = False
        """Whether any operation has succeeded: keys, if it has any, are good."""
        self.fell = False
        """Whether it ended before it was closed."""
        self.suspicion: str | None = None
        """Why what is remembered of its services may no longer fit; None while nothing speaks for that."""
        self.pairings = 0
        """Pairings made, or agreed to where BlueZ begins them, because the recorder demanded encryption."""
        self.pairing_failures = 0
        """Those that were refused."""
        self._client = BleakClient(
            device,
            lambda _client: self._on_lost(),
            timeout=CONNECT_S,
            bluez={"adapter": hci or adapter},
            backend=backend,
        )

    @property
    def mtu(self) -> int:
        """ATT MTU in bytes, 23 to 517. A notification or write carries 3 bytes less."""
        # On BlueZ, client.mtu_size is always 23; the characteristics know better.
        sizes = [each.max_write_without_response_size for each in self._characteristics.values()]
        return max([*(size + ATT_HEADER for size in sizes), MTU_DEFAULT])

    @property
    def has_paired(self) -> bool:
        """Whether a pairing was begun on this link, by us or by BlueZ."""
        return self._paired or self.pairings > 0

    def has(self, uuid: str) -> bool:
        """Whether the recorder offers this characteristic."""
        return normalize_uuid_str(uuid) in self._characteristics

    async def read(self, uuid: str, *, timeout: float = GATT_S) -> bytes:
        """Read a characteristic.

        Raises:
            LinkLostError: the link ended.
            GattError: not offered, refused, or no answer within ``timeout`` seconds.
        """
        characteristic = self._characteristic(uuid)
        return bytes(
            await self._operation(f"reading {uuid}", lambda: self._client.read_gatt_char(characteristic), timeout)
        )

    async def write(self, uuid: str, value: bytes, *, timeout: float = GATT_S) -> None:
        """Write a characteristic with response: the recorder has it when this returns.

        After an error it may or may not have it.

        Raises:
            LinkLostError: the link ended.
            GattError: not offered, refused, or no answer within ``timeout`` seconds.
        """
        characteristic = self._characteristic(uuid)
        await self._operation(
            f"writing {uuid}", lambda: self._client.write_gatt_char(characteristic, value, response=True), timeout
        )

    @asynccontextmanager
    async def notifications(
        self, uuid: str, *, max_bytes: int = NOTIFICATION_BUFFER
    ) -> AsyncIterator[NotificationStream]:
        """Subscribed to a characteristic inside the block.

        On BlueZ with D-Bus signals, a `read` of the same characteristic shows up as a notification too.

        Args:
            uuid: The characteristic; one stream per characteristic at a time.
            max_bytes: Payload bytes buffered at most; what comes beyond is dropped and counted.

        Raises:
            LinkLostError: the link ended.
            GattError: not offered, refused, or no answer in time.
        """
        characteristic = self._characteristic(uuid)
        stream = NotificationStream(self.address, max_bytes=max_bytes)
        await self._operation(
            f"subscribing to {uuid}",
            lambda: self._client.start_notify(
                characteristic, lambda _sender, data: stream.push(data), bluez=self._notify_args
            ),
        )
        self._streams.add(stream)
        if self.lost.is_set():
            stream.end()
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            await self._unsubscribe(uuid, characteristic, stream)

    async def _unsubscribe(
        self, uuid: str, characteristic: BleakGATTCharacteristic, stream: NotificationStream
    ) -> None:
        if stream.dropped:
            log.warning(
                "notifications_dropped",
                address=self.address,
                characteristic=uuid,
                packets=stream.dropped,
                bytes=stream.dropped_bytes,
                of_packets=stream.received,
            )
        if self.lost.is_set():
            return
        try:
            await self._operation(f"unsubscribing from {uuid}", lambda: self._client.stop_notify(characteristic))
        except (LinkLostError, GattError, PairingError) as error:
            # The link's end unsubscribes too, and what went wrong before must not be hidden by this.
            log.debug("unsubscribe_failed", address=self.address, characteristic=uuid, reason=error.message)

    # -- used by connect.py -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, discover and wait for the MTU. Raises what bleak raises, and TimeoutError."""
        await bounded(self._client.connect(), limit=CONNECT_HARD_S)
        found = sorted(self._client.services.characteristics.values(), key=lambda each: each.handle, reverse=True)
        self._characteristics = {each.uuid: each for each in found}  # of doubles, the one with the lowest handle stays
        await self._settle()
        if self.lost.is_set():
            raise BleakError("disconnected right after connecting")

    async def close(self, turn: asyncio.Lock | None = None) -> None:
        """End the link, in bounded time and even when cancelled. Never raises but for cancellation.

        Args:
            turn: Held by whoever connects on this adapter; the end waits for it, though not for long. None where this
                one's connect still holds it.
        """
        self._closing = True
        await uninterrupted(self._disconnect(turn))

    def end(self) -> None:
        """Its adapter is gone, or bluetoothd: whoever waits for something of this link learns that it is lost."""
        self._on_lost()

    def suspect(self, reason: str) -> None:
        """What this link reads or finds is not what it should be: perhaps the services were moved by an update."""
        self.suspicion = self.suspicion or reason

    async def _settle(self) -> None:
        for _ in range(round(MTU_SETTLE_S / MTU_POLL_S)):
            if self.mtu > MTU_DEFAULT or self.lost.is_set():
                return
            await asyncio.sleep(MTU_POLL_S)

    async def _disconnect(self, turn: asyncio.Lock | None) -> None:
        async with AsyncExitStack() as held:
            if turn is not None and not self.lost.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(END_TURN_S):
                        await held.enter_async_context(turn)
            try:
                await bounded(self._client.disconnect(), limit=DISCONNECT_S)
            except BACKEND_FAILURES as error:
                log.warning("link_close_failed", address=self.address, adapter=self.adapter, reason=describe(error))
        self._on_lost()

    def _on_lost(self) -> None:
        if self.lost.is_set():
            return
        if not self._closing:
            self.fell = True
            log.info("link_lost", address=self.address, adapter=self.adapter)
        self.lost.set()
        for stream in self._streams:
            stream.end()

    def _characteristic(self, uuid: str) -> BleakGATTCharacteristic:
        try:
            return self._characteristics[normalize_uuid_str(uuid)]
        except KeyError:
            self.suspect(f"it has no characteristic {uuid}")
            raise GattError(
                f"Recorder at {self.address} has no characteristic {uuid}.",
                remedy="Nothing to do if its firmware is old; else restart the recorder.",
                code="radio_gatt_missing",
            ) from None

    async def _operation(self, what: str, call: Callable[[], Coroutine[Any, Any, T]], timeout: float = GATT_S) -> T:
        async with self._one_at_a_time:
            back_within(2 * (timeout + CLEANUP_S) + PAIR_S + CLEANUP_S)
            if self.lost.is_set():
                raise self._lost_error(what)
            try:
                return await self._tried(what, call, timeout)
            except BACKEND_FAILURES as error:
                if not needs_pairing(error) or self._paired:
                    raise self._translated(what, error) from error
            await self._pair()
            try:
                return await self._tried(what, call, timeout)
            except BACKEND_FAILURES as error:
                raise self._translated(what, error) from error

    async def _tried(self, what: str, call: Callable[[], Coroutine[Any, Any, T]], timeout: float) -> T:
        """One try; what the backend raises goes through."""
        try:
            result = await bounded(call(), limit=timeout, ended=self.lost)
        except EndedError:
            raise self._lost_error(what) from None
        except TimeoutError:
            raise GattError(
                f"Recorder at {self.address} gave no answer within {timeout:g} s while {what}.",
                code="radio_gatt_timeout",
            ) from None
        self.answered = True
        return result

    async def _pair(self) -> None:
        """Pair without any question to anybody ("Just Works"), once on a link; BlueZ remembers it for the next."""
        self._paired = True
        log.info("pairing", address=self.address, adapter=self.adapter)
        try:
            await bounded(self._client.pair(), limit=PAIR_S, ended=self.lost)
        except EndedError:
            raise self._pairing_error("it ended the link") from None
        except BACKEND_FAILURES as error:
            raise self._pairing_error(describe(error)) from error
        self.pairings += 1
        log.info("paired", address=self.address, adapter=self.adapter)

    def _pairing_error(self, reason: str) -> PairingError:
        self.pairing_failures += 1
        return PairingError(
            f"Recorder at {self.address} demands encryption, and pairing with it failed: {reason}.",
            remedy=_PAIRING_REMEDY.replace("ADDRESS", self.address),
        )

    def _translated(self, what: str, error: Exception) -> LinkLostError | GattError | PairingError:
        if self.lost.is_set() or not self._client.is_connected or is_link_loss(error):
            self._on_lost()
            return self._lost_error(what)
        if needs_pairing(error):
            return self._pairing_error(f"it still refuses {what}")
        if is_out_of_place(error):
            self.suspect(f"it refuses {what}: {describe(error)}")
        return GattError(f"Recorder at {self.address} refused {what}: {describe(error)}.")

    def _lost_error(self, what: str) -> LinkLostError:
        return LinkLostError(f"The link to {self.address} was lost while {what}.")
