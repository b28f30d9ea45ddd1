"""What happens to recorders."""

# ruff: noqa: D102 - what begin, end, name and parks mean stands in Happening

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bota_gateway.protocol.errors_on_wire import transfer_code, wire_error
from bota_gateway.sim.faults import Fault, FaultKind
from support.chaos.happening import NOBODY, Happening

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld


@dataclass(frozen=True, kw_only=True)
class RecorderFault(Happening):
    """A recorder misbehaves from now on, as often as the fault says."""

    serial: str
    fault: Fault

    counted = False

    @property
    def parks(self) -> frozenset[str]:
        match self.fault.kind:
            case FaultKind.ERROR if not wire_error(self.fault.code).retryable:
                return frozenset({transfer_code(self.fault.code)})
            case FaultKind.ENDLESS:
                return frozenset({"transfer_too_long"})
            case _:
                return NOBODY

    async def begin(self, world: "ChaosWorld") -> None:
        world.recorders[self.serial].faults.add(self.fault)


@dataclass(frozen=True, kw_only=True)
class Condition(Happening):
    """A recorder's body is not well."""

    serial: str
    what: str

    SPELLS: ClassVar[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
        "uploads itself": ({"sync_active": True}, {"sync_active": False}),
        "battery low": ({"battery_percent": 4}, {"battery_percent": 80}),
        "records": ({"state": 1}, {"state": 0}),
        "hides recordings": ({"pending_hidden": 3}, {"pending_hidden": 0}),
    }

    @property
    def name(self) -> str:
        return self.what

    async def begin(self, world: "ChaosWorld") -> None:
        self._set(world, self.SPELLS[self.what][0])

    async def end(self, world: "ChaosWorld") -> None:
        self._set(world, self.SPELLS[self.what][1])

    def _set(self, world: "ChaosWorld", values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(world.recorders[self.serial].condition, name, value)


@dataclass(frozen=True, kw_only=True)
class Away(Happening):
    """A recorder is out of range."""

    serial: str

    async def begin(self, world: "ChaosWorld") -> None:
        world.ether.set_silent(self.serial, silent=True)

    async def end(self, world: "ChaosWorld") -> None:
        world.ether.set_silent(self.serial, silent=False)


@dataclass(frozen=True, kw_only=True)
class Off(Happening):
    """A recorder is switched off; it may have another address afterwards."""

    serial: str
    new_address: str | None = None

    async def begin(self, world: "ChaosWorld") -> None:
        if world.recorders[self.serial].powered:
            await world.recorders[self.serial].power_off()

    async def end(self, world: "ChaosWorld") -> None:
        recorder = world.recorders[self.serial]
        if not recorder.powered:
            recorder.address = self.new_address or recorder.address
            await recorder.start()


@dataclass(frozen=True, kw_only=True)
class Lossy(Happening):
    """Notifications of a recorder get lost on the hub, without a word."""

    serial: str
    share: float

    async def begin(self, world: "ChaosWorld") -> None:
        rng = random.Random(f"{self.serial} {self.at}")
        world.ether.set_loss(self.serial, lambda: rng.random() < self.share)

    async def end(self, world: "ChaosWorld") -> None:
        world.ether.set_loss(self.serial, None)


@dataclass(frozen=True, kw_only=True)
class Slow(Happening):
    """A recorder's link is slow."""

    serial: str
    bytes_per_s: float

    async def begin(self, world: "ChaosWorld") -> None:
        world.ether.set_pace(self.bytes_per_s, self.serial)

    async def end(self, world: "ChaosWorld") -> None:
        world.ether.set_pace(world.ether.bytes_per_s, self.serial)


@dataclass(frozen=True, kw_only=True)
class HangsUp(Happening):
    """A recorder ends its link, whatever is under way."""

    serial: str

    async def begin(self, world: "ChaosWorld") -> None:
        await world.recorders[self.serial].disconnect()


@dataclass(frozen=True, kw_only=True)
class PhoneTakes(Happening):
    """The owner's phone takes the oldest recording off a recorder."""

    serial: str

    async def begin(self, world: "ChaosWorld") -> None:
        recorder = world.recorders[self.serial]
        if recorder.recordings and not recorder.connected:
            world.take(self.serial, recorder.recordings[0].file_id)


@dataclass(frozen=True, kw_only=True)
class SwapAddresses(Happening):
    """Two recorders are reset, and each comes back with the other's address."""

    serial: str
    other: str

    async def begin(self, world: "ChaosWorld") -> None:
        if self.serial == self.other:
            return
        pair = world.recorders[self.serial], world.recorders[self.other]
        running = [recorder for recorder in pair if recorder.powered]
        for recorder in running:
            await recorder.power_off()
        pair[0].address, pair[1].address = pair[1].address, pair[0].address
        for recorder in running:
            await recorder.start()


@dataclass(frozen=True, kw_only=True)
class Grows(Happening):
    """A recorder listed its newest recording while it was still being made; now there is more of it."""

    serial: str
    by: int

    async def begin(self, world: "ChaosWorld") -> None:
        recorder = world.recorders[self.serial]
        newest = recorder.recordings[-1] if recorder.recordings else None
        # Of what arrives sealed, the judge can't tell which of the two it was; and what was empty waits for good.
        if newest is None or recorder.connected or newest.p10 or not newest.data:
            return
        old = world.take(self.serial, newest.file_id)
        grown = replace(old, data=bytes(old.data) + bytes(self.by), duration_s=old.duration_s + 1 + self.by // 4000)
        world.put(self.serial, grown)
