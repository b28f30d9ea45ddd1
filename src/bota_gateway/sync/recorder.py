"""What a recorder says of itself over GATT: who it is, how it is, what it can do, what it holds."""

import asyncio
import re
from typing import Final

import structlog

from bota_gateway.config import WireSettings
from bota_gateway.errors import (
    CapabilitiesError,
    GattError,
    IdentityError,
    ListError,
    PairingStalledError,
    StatusUnreadableError,
)
from bota_gateway.model import ListedRecording
from bota_gateway.protocol import uuids
from bota_gateway.protocol.capabilities import decode_capabilities
from bota_gateway.protocol.control import list_command
from bota_gateway.protocol.device_status import DeviceStatus, decode_device_status
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.recording_list import ListCollector, ListOptions, ListOutcome
from bota_gateway.protocol.time_sync import time_sync_write
from bota_gateway.radio import Link
from bota_gateway.sync.const import CAPABILITY_LIMIT_S, CAPABILITY_POLL_S, IDENTITY_S, LIST_TRIES

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SERIAL: Final = re.compile(r"[0-9A-Za-z]{1,64}")
"""Serials are letters and digits (docs/protocol.md, "Serial"); anything else stays out of logs, paths and requests."""


async def read_serial(link: Link) -> str:
    """The serial, the only identity there is: names are the same for all units, and addresses may change.

    Raises:
        IdentityError: it can't be read, or is none.
        PairingStalledError: it can't be read over this link, on which the recorder was paired.
        LinkLostError: the link ended.
    """
    value = await _read_first(link, uuids.SERIAL_NUMBER, uuids.IDENTITY_SERIAL)
    serial = value.decode("utf-8", errors="replace").strip("\0 \r\n")
    if not SERIAL.fullmatch(serial):
        link.suspect("what it gives as its serial is none")
        raise IdentityError(f"The recorder at {link.address} gives {value[:64]!r} as its serial.")
    return serial


async def _read_first(link: Link, *characteristics: str) -> bytes:
    refused = "it has no characteristic for it"
    for characteristic in characteristics:
        if link.has(characteristic):
            try:
                if value := (await link.read(characteristic, timeout=IDENTITY_S)).strip(b"\0 \r\n"):
                    return value
            except GattError as error:
                if not error.refused:
                    raise _silence(link) from error
                refused = error.message
    link.suspect(f"its serial can't be read: {refused}")
    raise IdentityError(f"The serial of the recorder at {link.address} can't be read: {refused}")


def _silence(link: Link) -> IdentityError | PairingStalledError:
    if link.has_paired:
        return PairingStalledError(f"The recorder at {link.address} was paired, and then nothing was answered.")
    return IdentityError(f"The recorder at {link.address} did not tell its serial in {IDENTITY_S:.0f} s.")


async def read_firmware(link: Link) -> str | None:
    """The firmware's version; None where it is not told."""
    try:
        value = await link.read(uuids.FIRMWARE_REVISION) if link.has(uuids.FIRMWARE_REVISION) else b""
    except GattError:
        return None
    text = value.decode("utf-8", errors="replace").strip("\0 \r\n")
    return text if text.isprintable() and text else None


async def set_time(link: Link, now: float, zone_minutes: int) -> None:
    """Set the recorder's clock, where it lets us: old firmware does not, and a visit does not depend on it."""
    if not link.has(uuids.TIME_SYNC):
        return
    write = time_sync_write(int(now * 1000), zone_minutes)
    try:
        await link.write(write.characteristic, write.value)
    except GattError as error:
        log.info("time_sync_refused", reason=error.message)


async def read_status(link: Link) -> DeviceStatus:
    """The status, fresh.

    Raises:
        StatusUnreadableError: it can't be read or decoded.
        LinkLostError: the link ended.
    """
    try:
        return decode_device_status(await link.read(uuids.DEVICE_STATUS))
    except (GattError, DecodeError) as error:
        raise StatusUnreadableError(f"The recorder's status can't be read: {error.message}") from error


async def has_v2(link: Link) -> bool:
    """Whether the recorder speaks version 2. Only a missing capability document means that it does not.

    Raises:
        CapabilitiesError: the document is there but can't be read, is malformed, or stays "not ready".
        LinkLostError: the link ended.
    """
    if not link.has(uuids.CAPABILITIES_V2):
        return False
    try:
        async with asyncio.timeout(CAPABILITY_LIMIT_S):
            while True:
                if decode_capabilities(await link.read(uuids.CAPABILITIES_V2)).ready:
                    return True
                await asyncio.sleep(CAPABILITY_POLL_S)
    except TimeoutError:
        message = f"Version 2 was still starting after {CAPABILITY_LIMIT_S:.0f} s."
        raise CapabilitiesError(message, code="recorder_not_ready") from None
    except (GattError, DecodeError) as error:
        raise CapabilitiesError(f"The capability document can't be read: {error.message}") from error


async def read_list(link: Link, wire: WireSettings) -> ListOutcome:
    """Everything the recorder says it holds. Silence is an empty list only if a fresh status counts nothing.

    Raises:
        ListError: it stays silent although its status counts recordings.
        StatusUnreadableError: it is silent, and does not say whether it holds anything.
        LinkLostError: the link ended.
        GattError: the command or the subscription was refused.
    """
    pending = 0
    for _ in range(LIST_TRIES):
        outcome = await _collect(link, ListOptions(quiet_s=wire.list_quiet_s, total_s=wire.list_total_s))
        if not outcome.nothing_heard:
            return outcome
        pending = (await read_status(link)).pending_recordings
        if not pending:
            return outcome
    raise ListError(f"The recorder counts {pending} recordings, but lists none; the link's MTU is {link.mtu}.")


async def _collect(link: Link, options: ListOptions) -> ListOutcome:
    clock = asyncio.get_running_loop().time
    collector = ListCollector(options)
    command = list_command()
    async with link.notifications(uuids.RECORDING_LIST) as stream:
        await link.write(command.characteristic, command.value)
        collector.started(clock())
        while collector.outcome is None:
            deadline = collector.deadline
            notifications = await stream.batch(max(0.0, deadline - clock()))
            for notification in notifications:
                collector.receive(notification, clock())
            if not notifications:
                collector.tick(max(deadline, clock()))  # a timer may fire a nanosecond early
    return collector.outcome


def listed_recordings(outcome: ListOutcome) -> list[ListedRecording]:
    """The list in the words of the other rooms, without entries that contradict each other.

    START and CONFIRM carry the file id alone: which of two is meant can't be said on the wire. And what such an entry
    says must not pass for another take of a recording that is known.
    """
    return [
        ListedRecording(
            file_id=entry.file_id,
            started_at=entry.started_at,
            duration_s=entry.duration_s,
            size_kib=entry.size_kib,
            encrypted_at_rest=entry.encrypted_at_rest,
        )
        for entry in outcome.entries
        if entry.file_id not in outcome.contradictory
    ]
