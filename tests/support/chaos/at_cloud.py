"""What happens in the cloud, and on the way to it."""

# ruff: noqa: D102 - what begin, end, name and parks mean stands in Happening

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bota_gateway.sim.cloud import Fault, LostBeforeCommit, Rule, S3Refusal, Status
from bota_gateway.sim.cloud.world import UPLOADABLE
from support.chaos.happening import NOBODY, Happening

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld

_PARKED_BY_STATUS: Final[dict[str, dict[int, str]]] = {
    "POST /recordings": {
        400: "upload_create_refused",
        422: "upload_create_refused",
        404: "upload_owner_gone",
        409: "upload_create_conflict",
    },
    "GET /devices/{id}": {404: "recorder_not_in_project"},
    "GET /recordings/{id}": {404: "upload_recording_gone"},
    "POST /recordings/{id}/upload-url": {
        400: "upload_url_refused",
        404: "upload_recording_gone",
        409: "upload_url_refused",
        422: "upload_url_refused",
    },
    "POST /recordings/{id}/upload-complete": dict.fromkeys((400, 404, 409, 422), "upload_integrity_failure"),
    "PUT s3": dict.fromkeys((400, 401, 403, 404, 405, 409, 422, 425), "s3_refused") | {413: "s3_too_large"},
}
"""Codes with which recordings are parked when a call is refused for good, by route and status."""

_PARKED_BY_S3: Final = {
    "signature": "s3_signature_refused",
    "denied": "s3_refused",
    "too_large": "s3_too_large",
    "no_bucket": "s3_no_bucket",
}


@dataclass(frozen=True, kw_only=True)
class CloudMisbehaves(Happening):
    """The cloud misbehaves on a route."""

    route: str
    fault: Fault
    nth: int = 1
    times: int | None = 1
    chance: float = 1.0

    counted = False

    @property
    def parks(self) -> frozenset[str]:
        match self.fault:
            case Status(status=status):
                code = _PARKED_BY_STATUS.get(self.route, {}).get(status)
            case S3Refusal(refusal=refusal):
                code = _PARKED_BY_S3.get(refusal)
            case _:
                code = {"bit_rot": "upload_integrity_failure", "redirect": "s3_redirected"}.get(self.fault.kind)
        return NOBODY if code is None else frozenset({code})

    async def begin(self, world: "ChaosWorld") -> None:
        world.arm(self, Rule(route=self.route, fault=self.fault, nth=self.nth, times=self.times, chance=self.chance))

    async def end(self, world: "ChaosWorld") -> None:
        if self.lasts:
            world.disarm(self)


@dataclass(frozen=True, kw_only=True)
class KeyRefused(Happening):
    """The API key is refused, as after a rotation."""

    status: int = 401

    async def begin(self, world: "ChaosWorld") -> None:
        world.arm(self, Rule(route="* /*", fault=Status(status=self.status, code="unauthorized"), times=None))

    async def end(self, world: "ChaosWorld") -> None:
        world.no_storm(world.disarm(self), self.lasts)


@dataclass(frozen=True, kw_only=True)
class NoNetwork(Happening):
    """The hub has no way to the cloud: connections are refused, or (``resets``) end in mid-call."""

    resets: bool = False

    async def begin(self, world: "ChaosWorld") -> None:
        if self.resets:
            world.arm(self, Rule(route="*", fault=LostBeforeCommit(), times=None))
        else:
            world.unplug(self)

    async def end(self, world: "ChaosWorld") -> None:
        world.disarm(self)
        world.plug_in(self)


@dataclass(frozen=True, kw_only=True)
class Unbound(Happening):
    """A recorder is bound to nobody for a while, then to its wearer again."""

    serial: str

    @property
    def parks(self) -> frozenset[str]:
        return frozenset({"recorder_unbound", "recorder_rebound"})

    async def begin(self, world: "ChaosWorld") -> None:
        world.cloud.devices.unbind(self.serial)

    async def end(self, world: "ChaosWorld") -> None:
        world.rebind(self.serial)


@dataclass(frozen=True, kw_only=True)
class Lent(Happening):
    """A recorder is bound to somebody else for a while, then to its wearer again."""

    serial: str

    @property
    def parks(self) -> frozenset[str]:
        return frozenset({"recorder_rebound"})

    async def begin(self, world: "ChaosWorld") -> None:
        world.lend(self.serial)

    async def end(self, world: "ChaosWorld") -> None:
        world.rebind(self.serial)


@dataclass(frozen=True, kw_only=True)
class DeletedInCloud(Happening):
    """Somebody deletes a recording in the dashboard that was not uploaded yet."""

    @property
    def parks(self) -> frozenset[str]:
        return frozenset({"upload_recording_gone"})

    async def begin(self, world: "ChaosWorld") -> None:
        unfinished = [made for made in world.cloud.recordings.values() if made.status in UPLOADABLE]
        if unfinished:
            del world.cloud.recordings[unfinished[0].id]
