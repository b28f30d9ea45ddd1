"""One recording from the recorder into the spool: START, packets, capture, and only then the acknowledgement.

While data flows nothing else is asked over the link: extra GATT traffic has been seen to cost notifications.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, assert_never

import structlog

from bota_gateway.config import WireSettings
from bota_gateway.errors import (
    GattError,
    LinkLostError,
    SpoolError,
    SpoolFullError,
    TransferError,
    TransferRetry,
    UnrulyError,
)
from bota_gateway.milestones import Milestones
from bota_gateway.model import Binding, Recording, WallClock
from bota_gateway.protocol.control import Write
from bota_gateway.protocol.receiver import BatchReceiver, Complete, Failed, ReceiverOptions
from bota_gateway.protocol.recording_list import recording_id
from bota_gateway.protocol.uuids import RECORDING_TRANSFER
from bota_gateway.radio import Link, NotificationStream
from bota_gateway.spool import Spool
from bota_gateway.sync.const import QUIET_S, SETTLE_S, TRANSFER_TRIES
from bota_gateway.sync.patience import Patience
from bota_gateway.sync.progress import LinkProgress
from bota_gateway.sync.reasons import Why
from bota_gateway.sync.schedule import RECORDING_BACKOFF, wait_after

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Figures = dict[str, str | int | float | bool | None]
"""Of one transfer, by name."""

QUARANTINE: Final = frozenset({Why.SHA_MISMATCH})
"""Failures that, met twice, need a human: the CRC passes, yet the recorder says that these are not the bytes."""


@dataclass(frozen=True, slots=True)
class Puller:
    """Pulls recordings over one link, one after the other."""

    link: Link
    spool: Spool
    wire: WireSettings
    binding: Binding
    progress: LinkProgress
    now: WallClock
    rng: Random
    patience: Patience
    still_recording: bool
    """Whether the recorder said at the beginning of the visit that it was recording."""
    _digests: dict[str, str] = field(default_factory=dict)
    """Of what came over this link: SHA-256 to file id."""

    async def pull(self, recording: Recording) -> Recording:
        """Capture and acknowledge one recording, trying twice where that may help.

        A recording without a byte is parked and aborted instead of acknowledged: no upload could prove that the cloud
        has it, so the recorder must keep whatever it has under that name until a human decided.

        Returns:
            The captured row.

        Raises:
            TransferError: no good recording came; the spool knows why and when to try again.
            UnrulyError: no good recording came, and the recorder goes on sending: only ending the link helps.
            SpoolError: no room for it, or no durability.
            LinkLostError: the link ended.
            GattError: START or the acknowledgement got no answer; once captured, the recording is safe all the same.
        """
        with self.patience.with_a(recording, self.link.adapter) as patience_s:
            return await self._try(recording, patience_s)

    async def _try(self, recording: Recording, patience_s: float) -> Recording:
        for tries_left in reversed(range(TRANSFER_TRIES)):
            receiver = self._receiver(recording, patience_s)
            attempt = recording.attempts + TRANSFER_TRIES - tries_left
            transfer = Transfer(self.link, self.spool, recording, receiver, self.progress, attempt)
            try:
                return await transfer.run(self.binding)
            except TransferError as error:
                retry = _verdict(error, tries_left)
                await self._abandon(recording, error, retry, transfer.figures())
                if transfer.unruly:
                    raise UnrulyError("The recorder does not end the transfer that was refused.") from error
                if retry is not TransferRetry.NOW:
                    raise
            except SpoolFullError as error:
                if transfer.unruly:
                    raise UnrulyError("The recorder does not end the transfer that was aborted.") from error
                raise
            finally:
                if receiver.ended:
                    self._digests[receiver.sha256] = recording.key.file_id
        raise AssertionError("the last try either captures or raises")

    def _receiver(self, recording: Recording, patience_s: float) -> BatchReceiver:
        wire, own = self.wire, recording.key.file_id
        options = ReceiverOptions(
            result_characteristic=wire.result_characteristic,
            result_sequence=wire.result_sequence,
            first_packet_s=wire.first_packet_s,
            packet_gap_s=wire.packet_gap_s,
            sha_grace_s=wire.sha_grace_s,
            digest=wire.digest,
            max_recording_bytes=wire.max_recording_bytes,
            slowest_bytes_per_s=wire.slowest_bytes_per_s,
            patience_s=patience_s,
            still_recording=self.still_recording,
            earlier_digests=frozenset(digest for digest, file_id in self._digests.items() if file_id != own),
        )
        wire_id = recording_id(recording.key.file_id)
        return BatchReceiver(wire_id, options, encrypted_at_rest=recording.encrypted_at_rest)

    async def _abandon(
        self, recording: Recording, error: TransferError, retry: TransferRetry, figures: Figures
    ) -> None:
        """Write down how the try ended. Logged as a warning only when it is not repeated at once."""
        code, message, ends = error.error_code, error.message, self.progress.ends
        match retry:
            case TransferRetry.NOW:
                await self.spool.abandon_receiving(
                    recording.id, code=code, message=message, retry_at=None, figures=figures, ends=ends
                )
                log.info("transfer_failed", code=code, reason=message, again="now")
            case TransferRetry.LATER:
                retry_at = self.now() + wait_after(recording.attempts + 1, RECORDING_BACKOFF, self.rng)
                await self.spool.abandon_receiving(
                    recording.id, code=code, message=message, retry_at=retry_at, figures=figures, ends=ends
                )
                log.warning("transfer_failed", code=code, reason=message, again="later", retry_at=retry_at)
            case TransferRetry.NEVER:
                await self.spool.park(recording.id, code=code, detail=message, figures=figures, ends=ends)
                log.error("recording_parked", code=code, reason=message)
            case _ as never:
                assert_never(never)


def _verdict(error: TransferError, tries_left: int) -> TransferRetry:
    if error.retry is not TransferRetry.NOW or tries_left:
        return error.retry
    return TransferRetry.NEVER if error.error_code in QUARANTINE else TransferRetry.LATER


@dataclass(slots=True)
class Transfer:
    """One try at one recording."""

    link: Link
    spool: Spool
    recording: Recording
    receiver: BatchReceiver
    progress: LinkProgress
    attempt: int
    """Counts the tries of this recording since something went well, from 1."""
    unruly: bool = field(default=False, init=False)
    """The recorder did not stop when it was told to, or could not be told."""
    _stream: NotificationStream | None = field(default=None, init=False)
    _lasted: float = field(default=0.0, init=False)
    """Seconds, once it is over."""

    async def run(self, binding: Binding) -> Recording:
        """Bring the recording into the spool, durably, then acknowledge it; raises as :meth:`Puller.pull`."""
        try:
            async with self.link.notifications(RECORDING_TRANSFER) as stream:
                self._stream = stream
                await self.spool.begin_receiving(self.recording.id)
                self.progress.transfer_started(self.recording.key.file_id, self.recording.size_kib * 1024)
                level = logging.INFO if self.attempt == 1 else logging.DEBUG  # the failure before it said so
                log.log(level, "transfer_started", expected_kib=self.recording.size_kib, attempt=self.attempt)
                try:
                    complete = await self._receive(stream)
                    # Not under the handlers of _receive: a capture that was interrupted may be durable all the same.
                    captured = await self._capture(complete, binding)
                except SpoolError as error:
                    await self._stop(stream, self.receiver.abort())
                    await self._drop(error.error_code, error.message)
                    raise
                await self._acknowledge()
                return captured
        finally:
            if (since := self.progress.transfer_since) is not None:
                self._lasted = asyncio.get_running_loop().time() - since
            self.progress.transfer_ended()

    async def _receive(self, stream: NotificationStream) -> Complete:
        try:
            await self._write(self.receiver.start)
            outcome = await self._take_packets(stream)
        except (LinkLostError, GattError) as error:
            if isinstance(error, GattError) and error.refused:  # this recording's START; others may be given
                later, code = TransferRetry.LATER, error.error_code
                raise TransferError(error.message, retry=later, code=code, remedy=error.next_step) from error
            await self._drop(error.error_code, error.message)
            raise
        except asyncio.CancelledError:
            await self._drop("visit_cancelled", "The gateway stopped in the middle of the transfer.")
            raise
        if isinstance(outcome, Failed):
            await self._stop(stream, self.receiver.refuse())
            raise TransferError(outcome.message, retry=TransferRetry(outcome.retry), code=outcome.code)
        if outcome.empty:
            await self._stop(stream, self.receiver.abort())
            raise TransferError("The recorder sent no audio at all.", retry=TransferRetry.NEVER, code=Why.EMPTY)
        return outcome

    async def _take_packets(self, stream: NotificationStream) -> Complete | Failed:
        clock = asyncio.get_running_loop().time
        receiver = self.receiver
        receiver.started(clock())
        milestones = Milestones(self.progress.expected_bytes, clock())
        while receiver.outcome is None:
            # What is buffered is taken before the deadline is judged: a slow disk here is no silence over there.
            deadline = receiver.deadline
            packets = await stream.batch(max(0.0, deadline - clock()))
            if packets:
                receiver.receive(packets, clock())
            else:
                receiver.tick(max(deadline, clock()))  # a timer may fire a nanosecond early
            if audio := receiver.take_audio():
                await self.spool.store_audio(self.recording.id, audio)
            self.progress.received_bytes = received = receiver.received_bytes
            if milestones.due(received, clock()):
                percent, rate = milestones.percent(received), round(self.progress.rate)
                log.info("transfer_progress", percent=percent, received=received, bytes_per_s=rate)
        return receiver.outcome

    def figures(self) -> Figures:
        """How it went so far, to tell a bad link from a good one."""
        receiver, link = self.receiver, self.link
        since = self.progress.transfer_since
        lasted = self._lasted if since is None else asyncio.get_running_loop().time() - since
        return {
            "adapter": link.adapter,
            "adapter_address": link.adapter_address,
            "attempt": self.attempt,
            "seconds": round(lasted, 1),
            "bytes_per_s": round(receiver.received_bytes / max(lasted, 1e-3)),
            "packets": receiver.packets,
            "gaps": receiver.gaps,
            "duplicates": receiver.duplicates,
            "length_mismatches": receiver.length_mismatches,
            "dropped": self._stream.dropped if self._stream else 0,
            "mtu": link.mtu,
            "rssi": link.rssi,
            "notify": link.notify.value,
        }

    async def _capture(self, complete: Complete, binding: Binding) -> Recording:
        figures = self.figures() | {
            "crc32": complete.crc32,
            "profile": complete.profile,
            "sha_matches": complete.sha_matches,
        }
        captured = await self.spool.capture(
            self.recording.id,
            size_bytes=complete.length,
            sha256=complete.sha256,
            device_sha256=complete.device_sha256,
            profile=complete.profile,
            binding=binding,
            figures=figures,
            ends=self.progress.ends,
        )
        log.info("recording_captured", bytes=complete.length, sha256=complete.sha256, **figures)
        return captured

    async def _acknowledge(self) -> None:
        await self._write(self.receiver.acknowledge())
        await self.spool.acknowledged(self.recording.id)

    async def _stop(self, stream: NotificationStream, verdict: Write | None) -> None:
        """Tell the recorder that the transfer is over, and let pass what is still on its way.

        Some recorders may start over by themselves after a NACK, which is not known; an ABORT follows for those.
        """
        self.unruly = True
        try:
            for word in (verdict, self.receiver.abort()):
                if word is not None:
                    await self._write(word)
                if await self._falls_silent(stream):
                    self.unruly = False
                    return
        except GattError as error:
            log.info("transfer_refusal_unheard", reason=error.message)
        except LinkLostError:
            return  # nothing stops a transfer as surely; the next operation on the link says so

    async def _falls_silent(self, stream: NotificationStream) -> bool:
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while True:
                    if await stream.batch(SETTLE_S):
                        heard_at = clock()
        return clock() - heard_at >= QUIET_S

    async def _write(self, write: Write) -> None:
        await self.link.write(write.characteristic, write.value)

    async def _drop(self, code: str, message: str) -> None:
        """Back to listed: what came of it is worthless, since version 1 can't resume."""
        try:
            await self.spool.abandon_receiving(
                self.recording.id,
                code=code,
                message=message,
                retry_at=None,
                figures=self.figures(),
                ends=self.progress.ends,
            )
        except SpoolError as error:  # the reason for which the transfer ended matters more; a row that stays
            log.warning("spool_not_told", reason=error.message)  # receiving is pulled again all the same
