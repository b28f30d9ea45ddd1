"""How a world is from its beginning, and which recordings come to be in it."""

# ruff: noqa: D102 - what begin, end, name and parks mean stands in Happening

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bota_gateway.sim.cloud.options import ApiProfile
from bota_gateway.sim.options import Sha
from support.chaos.happening import NOBODY, Happening

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld

UNKNOWN_FORMAT: Final = "upload_unsupported_audio"
"""Code that recordings of no known format are parked with, until a human names one."""

NEED_A_RESTART: Final = frozenset({"advertises", "capability", "requires_encryption", "name"})
"""Options that a recorder looks at only when it is switched on."""


@dataclass(frozen=True, kw_only=True)
class Generation(Happening):
    """The cloud is of this generation."""

    profile: ApiProfile

    counted = False


@dataclass(frozen=True, kw_only=True)
class CloudOption(Happening):
    """The cloud is set up in another way."""

    option: str
    value: Any

    counted = False


@dataclass(frozen=True, kw_only=True)
class Setting(Happening):
    """The gateway is configured in another way; a human may have to change it later, to ``mended``."""

    section: str
    key: str
    value: Any
    asks: str | None = None
    """Code of the parked recordings upon which a human sets it to ``mended``."""
    mended: Any = None

    counted = False

    @property
    def parks(self) -> frozenset[str]:
        return NOBODY if self.asks is None else frozenset({self.asks})


@dataclass(frozen=True, kw_only=True)
class Quirk(Happening):
    """A recorder's firmware is of another kind; for a while, or (``lasts`` 0) for good."""

    serial: str
    option: str
    value: Any

    @property
    def name(self) -> str:
        value = "" if isinstance(self.value, bytes) else str(self.value)
        return f"{self.option} {value}".replace("_", " ").rstrip()

    @property
    def parks(self) -> frozenset[str]:
        return frozenset({"transfer_sha_mismatch"}) if self.value is Sha.WRONG else NOBODY

    async def begin(self, world: "ChaosWorld") -> None:
        await self._set(world, self.value)

    async def end(self, world: "ChaosWorld") -> None:
        if self.lasts:
            await self._set(world, getattr(world.usual_options, self.option))

    async def _set(self, world: "ChaosWorld", value: Any) -> None:
        recorder = world.recorders[self.serial]
        recorder.options = recorder.firmware.options = replace(recorder.options, **{self.option: value})
        if recorder.powered and self.option in NEED_A_RESTART:
            await recorder.power_off()
            await recorder.start()


@dataclass(frozen=True, kw_only=True)
class Recorded(Happening):
    """A recorder makes a recording."""

    serial: str
    file_id: str
    started_at: int
    size: int
    duration_s: int = 10
    form: str = "ogg"
    """``ogg``; ``rubbish``: no audio that the cloud takes; ``p10``; ``v2``: refused by version 1; ``at_rest``."""

    counted = False

    @property
    def waits_for(self) -> str | None:
        """Code of the reason for which it waits for good, whatever a human does; None when it does not."""
        if self.form == "v2":
            return "transfer_needs_v2"
        if not self.size:
            return "recording_empty"
        return "upload_p10_needs_relay" if self.form == "p10" else None

    @property
    def parks(self) -> frozenset[str]:
        code = UNKNOWN_FORMAT if self.form == "rubbish" else self.waits_for
        return NOBODY if code is None else frozenset({code})

    async def begin(self, world: "ChaosWorld") -> None:
        world.make(self)
