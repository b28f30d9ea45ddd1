"""Whose a recorder is: its serial looked up in the project (docs/cloud-api.md, "Whose recording it is")."""

import asyncio
import math
from dataclasses import dataclass, field
from random import Random
from typing import Final

import structlog

from bota_gateway.backoff import Backoff
from bota_gateway.cloud import BotaApi, CloudDevice
from bota_gateway.cloud.const import PAGE_SIZE
from bota_gateway.config import Settings
from bota_gateway.errors import CloudError, CloudProtocolError, CloudRefusedError
from bota_gateway.model import Binding, Membership, RecorderRecord, WallClock
from bota_gateway.pulse import back_within
from bota_gateway.spool import Spool
from bota_gateway.upload.const import (
    BOUND_RECHECK_S,
    DIRECTORY_FRESH_S,
    DIRECTORY_MISS_FRESH_S,
    IN_USE_S,
    LONGEST_NAP_S,
    STRANGER_RECHECK_S,
    UNBOUND_RECHECK_S,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

FAILURES: Final = Backoff(5.0, 300.0)
"""Waits after the cloud could not be asked; its own pause (cloud/budget.py) comes on top."""


@dataclass(frozen=True, slots=True)
class _Failure:
    count: int
    again_at: float
    """Loop time."""


def binding_of(device: CloudDevice) -> Binding:
    """What the cloud says of a registered device."""
    membership = Membership.BOUND if device.bound else Membership.UNBOUND
    return Binding(membership, device.id, device.end_user_id, device.binding_generation)


def due_at(recorder: RecorderRecord, stranger_recheck_s: float, now: float) -> float:
    """Unix time at which the cloud should be asked about a recorder again; it is asked only while in use."""
    if recorder.binding_checked_at is None or recorder.binding_checked_at > now:
        return 0.0  # never asked; or asked in the future, which means that the clock was set back since
    again_after = {
        Membership.UNRESOLVED: 0.0,
        Membership.BOUND: BOUND_RECHECK_S,
        Membership.UNBOUND: UNBOUND_RECHECK_S,
        Membership.STRANGER: min(stranger_recheck_s, STRANGER_RECHECK_S),
    }
    return recorder.binding_checked_at + again_after[recorder.binding.membership]


@dataclass(slots=True)
class Directory:
    """The project's devices by serial, as a walk found them. Small: a few values per device, not the answers."""

    api: BotaApi
    _devices: dict[str, list[CloudDevice]] = field(default_factory=dict)
    _walked_at: float = -math.inf
    _calls: int = 1
    """What the last walk cost."""

    async def find(self, serial: str, *, again: bool) -> CloudDevice | None:
        """The device with exactly this serial; a serial not known from a recent walk costs a new one.

        Args:
            serial: Of whom.
            again: It was looked for before, in vain.

        Raises:
            CloudProtocolError: Two bound devices carry it: whose a recording is must not be guessed.
        """
        age = asyncio.get_running_loop().time() - self._walked_at
        miss_fresh_s = DIRECTORY_MISS_FRESH_S * (self._calls if again else 1)
        if age > (DIRECTORY_FRESH_S if serial in self._devices else miss_fresh_s):
            await self._walk()
        found = sorted(self._devices.get(serial, []), key=lambda device: not device.bound)
        if len(found) > 1 and found[1].bound:
            log.error("device_serial_twice", recorder=serial, devices=[device.id for device in found])
            raise CloudProtocolError(
                f"two bound devices carry the serial {serial}",
                code="cloud_serial_twice",
                remedy="Remove one in the dashboard, or name the right one in recorders.map.",
            )
        return found[0] if found else None

    async def _walk(self) -> None:
        started = asyncio.get_running_loop().time()
        devices: dict[str, list[CloudDevice]] = {}
        count = 0
        async for device in self.api.devices():
            count += 1
            if not device.deleted:
                devices.setdefault(device.serial, []).append(device)
        self._devices, self._walked_at, self._calls = devices, started, max(1, math.ceil(count / PAGE_SIZE))
        log.info("devices_listed", devices=len(devices))


class Registrar:
    """Keeps the spool's knowledge of who wears which recorder fresh.

    Args:
        spool: Names the recorders; learns their bindings.
        api: The cloud, entered.
        settings: The map of serials, who is served, how often strangers are looked at again.
        now: The wall clock.
        rng: Jitter.
    """

    def __init__(
        self, spool: Spool, api: BotaApi, settings: Settings, now: WallClock, *, rng: Random | None = None
    ) -> None:
        self._spool = spool
        self._api = api
        self._settings = settings
        self._now = now
        self._rng = rng or Random()  # noqa: S311 - jitter
        self._directory = Directory(api)
        self._failures: dict[str, _Failure] = {}

    async def run(self) -> None:
        """Resolve recorders as they come up, until cancelled. One that can't be resolved holds no other up.

        Raises:
            SpoolError: The spool can't be written.
        """
        while True:
            revision = self._spool.revision
            next_due = math.inf
            for recorder in await self._spool.recorders():
                back_within(0)
                wait = self._wait_s(recorder)
                if wait <= 0:
                    await self._resolve(recorder)
                    wait = self._wait_s(await self._spool.recorder(recorder.serial))
                next_due = min(next_due, wait)
            nap = min(LONGEST_NAP_S, max(0.0, next_due))
            back_within(nap)
            try:
                async with asyncio.timeout(nap):
                    await self._spool.wait_for_change(revision)
            except TimeoutError:
                continue

    def asks_in(self, recorder: RecorderRecord) -> float | None:
        """Seconds until the cloud is asked about it again; None where that takes a visit first."""
        wait = self._wait_s(recorder)
        return None if math.isinf(wait) else max(0.0, wait)

    def _wait_s(self, recorder: RecorderRecord) -> float:
        """Seconds until the cloud should be asked about it; infinite for one that is not served or not in use."""
        serial, now = recorder.serial, self._now()
        recorders = self._settings.recorders
        if serial in recorders.deny or (recorders.allow and serial not in recorders.allow):
            return math.inf
        if now - recorder.last_seen_at > IN_USE_S:
            return math.inf
        wait = due_at(recorder, self._settings.visits.stranger_recheck_s, now) - now
        failure = self._failures.get(serial)
        return wait if failure is None else max(wait, failure.again_at - asyncio.get_running_loop().time())

    async def _resolve(self, recorder: RecorderRecord) -> None:
        serial = recorder.serial
        try:
            device = await self._look_up(recorder)
        except CloudError as error:
            self._note_failure(serial, error)
            return
        had_failed = self._failures.pop(serial, None) is not None
        binding = Binding(Membership.STRANGER) if device is None else binding_of(device)
        await self._spool.bind(serial, binding)
        if binding != recorder.binding or had_failed:
            log.info(
                "recorder_resolved",
                recorder=serial,
                membership=binding.membership.value,
                device_id=binding.device_id,
                end_user_id=binding.end_user_id,
            )

    async def _look_up(self, recorder: RecorderRecord) -> CloudDevice | None:
        """By the operator's map, else by the id it had, else in the project's list; None for a stranger."""
        serial = recorder.serial
        mapped = self._settings.recorders.map.get(serial)
        for device_id in (mapped, recorder.binding.device_id):
            if device_id is None:
                continue
            device = await self._by_id(device_id)
            if device is not None and device.serial == serial:
                return device
            if device_id == mapped:
                log.error("recorder_map_wrong", recorder=serial, device_id=device_id)
        return await self._directory.find(serial, again=recorder.binding.membership is Membership.STRANGER)

    async def _by_id(self, device_id: str) -> CloudDevice | None:
        try:
            device = await self._api.device(device_id)
        except CloudRefusedError as error:
            if error.status == 404:
                return None
            raise
        return None if device.deleted else device

    def _note_failure(self, serial: str, error: CloudError) -> None:
        count = self._failures[serial].count + 1 if serial in self._failures else 1
        wait = FAILURES.step(count - 1) * self._rng.uniform(1.0, 1.2)
        if isinstance(error, CloudRefusedError) and error.retry_after_s is not None:
            wait = max(wait, error.retry_after_s)
        self._failures[serial] = _Failure(count, asyncio.get_running_loop().time() + wait)
        log.warning(
            "recorder_unresolved", recorder=serial, code=error.error_code, reason=error.message, again_in_s=wait
        )
