"""Draws troubles: everything that goes wrong with recorders, cloud, hub and people."""

import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeVar

from bota_gateway.protocol.capabilities import (
    ENCODING_VERSION,
    KNOWN_FLAGS,
    LEAST_MANIFEST,
    LEAST_SIGNED_BLOB,
    PROFILE_VERSION,
    Capabilities,
    encode_capabilities,
)
from bota_gateway.sim import cloud
from bota_gateway.sim.cloud import ErrorVariant
from bota_gateway.sim.cloud.options import ApiProfile
from bota_gateway.sim.faults import PACKET_KINDS, Fault, FaultKind
from bota_gateway.sim.options import Sha
from support.chaos.at_cloud import CloudMisbehaves, DeletedInCloud, KeyRefused, Lent, NoNetwork, Unbound
from support.chaos.at_hub import ClockWrong, Dies, DiesAround, DiskFails, DiskFull, HumanRetries, SpoolLost, Stops
from support.chaos.at_recorders import (
    Away,
    Condition,
    Grows,
    HangsUp,
    Lossy,
    Off,
    PhoneTakes,
    RecorderFault,
    Slow,
    SwapAddresses,
)
from support.chaos.dice import Dice
from support.chaos.happening import Happening
from support.chaos.setup import Quirk
from support.effects import GATT, HTTP, KINDS, moments_of

T = TypeVar("T")

LATEST_COMMIT_S: Final = 60.0
"""A call whose answer was lost may be carried out so much later; servers and proxies give up on a call after that."""

ROUTES: Final = {
    "GET /devices": 1,
    "GET /devices/{id}": 1,
    "GET /recordings": 1,
    "GET /recordings/{id}": 1,
    "POST /recordings": 4,
    "POST /recordings/{id}/upload-url": 3,
    "POST /recordings/{id}/upload-complete": 4,
    "PUT s3": 5,
}
"""How often which route is the one that misbehaves."""

STATUSES: Final = {
    400: 2, 401: 4, 403: 3, 404: 1, 408: 3, 409: 3, 413: 1, 422: 2, 425: 3, 429: 12, 500: 12, 502: 8, 503: 12, 504: 6,
}  # fmt: skip

RETRY_AFTER: Final = (None, None, None, "1", "90", "86400", "soon", "-5", "Fri, 31 Dec 1999 23:59:59 GMT")

S3_REFUSALS: Final = {
    "expired": 10, "not_yet_valid": 10, "expired_token": 10, "incomplete": 10, "bad_digest": 10, "timeout": 10,
    "slow_down": 10, "internal": 10, "denied": 2, "signature": 2, "too_large": 2, "no_bucket": 2,
}  # fmt: skip

RECORDER_ERRORS: Final = (
    0x00, 0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x12, 0x12, 0x14, 0x20, 0x21, 0x30, 0x31, 0x77, 0xFF,
)  # fmt: skip

REQUEST_KINDS: Final = frozenset({FaultKind.GATT_STALL, FaultKind.GATT_DISCONNECT, FaultKind.LOSE_GATT_ANSWER})
"""Faults of one of a connection's requests; a visit has about twenty."""

STUCK: Final = cloud.EditedAnswer(replace={"has_more": True})
"""A list that never ends."""

LIST_EDITS: Final = (
    STUCK,
    STUCK,
    cloud.EditedAnswer(remove=("data",)),
    cloud.EditedAnswer(replace={"data": [None]}),
)
EDITS: Final = (
    cloud.EditedAnswer(remove=("id",)),
    cloud.EditedAnswer(remove=("status", "end_user_id")),
    cloud.EditedAnswer(replace={"id": None}),
    cloud.EditedAnswer(replace={"upload_url": "https://elsewhere.example/put"}),
    cloud.EditedAnswer(remove=("upload_url",)),
    cloud.EditedAnswer(remove=("content_sha256", "content_sha256_verified_at")),
    cloud.EditedAnswer(replace={"status": "processing"}),
)

V2: Final = encode_capabilities(
    Capabilities(
        version=ENCODING_VERSION,
        profile_version=PROFILE_VERSION,
        flags=KNOWN_FLAGS,
        max_signed_blob=LEAST_SIGNED_BLOB,
        max_manifest=LEAST_MANIFEST,
        max_data_payload=200,
        max_window_packets=16,
        checkpoint_blocks=4,
        max_missing=8,
    )
)
"""Of a recorder whose firmware speaks version 2, until it is changed back."""
V2_S: Final = 900.0

DISK_ERRORS: Final = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL)
CLOCK_ERRORS: Final = (-1.79e9, -86_400.0, -3600.0, 3600.0, 400 * 86_400.0)
"""Seconds: 1970, a day back, an hour either way, a year ahead."""


class Troubles:
    """Draws them for one schedule."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._rng = dice.rng

    def draw(self) -> Iterator[Happening]:
        """Few, some or many."""
        least, most = self._weighed({(1, 4): 40, (5, 12): 40, (13, 30): 20})
        families: dict[Callable[[], Happening], int] = {
            self._recorder_fault: 30,
            self._cloud_fault: 30,
            self._recorder_spell: 14,
            self._cloud_spell: 8,
            self._death: 14,
            self._hub_spell: 8,
            self._people: 6,
        }
        drawn = [self._weighed(families)() for _ in range(self._rng.randint(least, most))]
        if self._dice.sometimes(0.08):
            drawn += self._many_deaths()
        return iter([*drawn, *self._with_capabilities(drawn)])

    def _with_capabilities(self, drawn: list[Happening]) -> Iterator[Happening]:
        """Who is to have no readable capability document has to have one."""
        for one in drawn:
            if isinstance(one, RecorderFault) and one.fault.kind is FaultKind.CAPABILITY_UNREADABLE:
                yield Quirk(at=one.at, lasts=V2_S, serial=one.serial, option="capability", value=V2)

    def _weighed(self, choices: dict[T, int]) -> T:
        return self._rng.choices(list(choices), list(choices.values()))[0]

    # -- recorders -----------------------------------------------------------------------------------------------------

    def _recorder_fault(self) -> Happening:
        dice, rng = self._dice, self._rng
        kind = rng.choice(sorted(FaultKind))
        if kind is FaultKind.ENDLESS and dice.sometimes(0.7):
            kind = FaultKind.NO_EOF  # an endless one costs as much as ten others
        fault = Fault(
            kind,
            at=rng.randrange(40) if kind in REQUEST_KINDS else rng.choice((None, None, 0, 1, 5)),
            rate=0.2 if kind in PACKET_KINDS and dice.sometimes(0.1) else None,
            times=1 if kind is FaultKind.ENDLESS else self._weighed({1: 60, 2: 20, 5: 15, 40: 5}),
            seconds=rng.choice((0.2, 1.0, 4.5, 12.0, 70.0, math.inf)),
            code=rng.choice(RECORDER_ERRORS),
        )
        return RecorderFault(at=dice.when(), serial=dice.serial(), fault=fault)

    def _recorder_spell(self) -> Happening:
        dice, rng = self._dice, self._rng
        serial, at, lasts = dice.serial(), dice.when(), dice.long()
        drawn: tuple[Callable[[], Happening], ...] = (
            lambda: Away(at=at, lasts=lasts, serial=serial),
            lambda: Away(at=at, lasts=lasts, serial=serial),
            lambda: Off(at=at, lasts=lasts, serial=serial),
            lambda: Off(at=at, lasts=lasts, serial=serial, new_address=self._address()),
            lambda: Lossy(at=at, lasts=lasts, serial=serial, share=rng.choice((0.02, 0.2, 0.6))),
            lambda: Slow(at=at, lasts=lasts, serial=serial, bytes_per_s=rng.choice((300.0, 2000.0))),
            lambda: HangsUp(at=at, serial=serial),
            lambda: SwapAddresses(at=at, serial=serial, other=dice.serial()),
            lambda: Grows(at=at, serial=serial, by=rng.choice((600, 5000))),
            lambda: Condition(at=at, lasts=lasts, serial=serial, what=rng.choice(sorted(Condition.SPELLS))),
            lambda: Quirk(at=at, lasts=lasts, serial=serial, option="sha", value=Sha.WRONG),
            lambda: Quirk(at=at, lasts=lasts, serial=serial, option="att_mtu", value=23),
            lambda: Quirk(at=at, lasts=lasts, serial=serial, option="requires_encryption", value=True),
            lambda: Quirk(at=at, lasts=lasts, serial=serial, option="capability", value=V2),
        )
        return rng.choice(drawn)()

    def _address(self) -> str:
        return ":".join(f"{octet:02X}" for octet in (0xC0 | self._rng.randrange(64), *self._rng.randbytes(5)))

    # -- the cloud -----------------------------------------------------------------------------------------------------

    def _cloud_fault(self) -> Happening:
        dice = self._dice
        route = self._weighed(ROUTES)
        fault = self._s3_fault() if route == "PUT s3" and dice.sometimes(0.6) else self._answer_fault(route)
        often = self._weighed({1: 60, 2: 20, 4: 15, 12: 5})
        lasts = dice.long() if dice.sometimes(0.3) else 0.0
        return CloudMisbehaves(
            at=dice.when(),
            lasts=lasts,
            route=route,
            fault=fault,
            nth=self._rng.choice((1, 1, 1, 2, 3)),
            times=None if lasts and not isinstance(fault, cloud.OversizedBody) else often,
            chance=1.0 if dice.sometimes(0.7) else 0.4,
        )

    def _answer_fault(self, route: str) -> cloud.Fault:
        dice, rng = self._dice, self._rng
        writes = route.startswith("POST") or route == "PUT s3"
        edits = LIST_EDITS if route in {"GET /devices", "GET /recordings"} else EDITS
        faults: dict[Callable[[], cloud.Fault], int] = {
            cloud.LostBeforeCommit: 10,
            cloud.LostAfterCommit: 14 if writes else 2,
            lambda: cloud.LateCommit(delay_s=round(rng.uniform(0.5, LATEST_COMMIT_S), 1)): 6 if writes else 0,
            self._refusal: 24,
            lambda: cloud.Slow(delay_s=rng.choice((1.0, 30.0, 59.0, 90.0))): 5,
            lambda: cloud.Stall(after_commit=dice.sometimes(0.5)): 6,
            lambda: cloud.Redirect(status=rng.choice((301, 302, 307, 308))): 4,
            lambda: cloud.OversizedBody(extra_bytes=5 << 20): 2,
            lambda: cloud.TruncatedAnswer(keep_bytes=rng.choice((0, 10, 60))): 6,
            lambda: rng.choice(edits): 5 if route != "PUT s3" else 0,
        }
        return self._weighed(faults)()

    def _refusal(self) -> cloud.Status:
        rng = self._rng
        status = self._weighed(STATUSES)
        return cloud.Status(
            status=status,
            variant=rng.choice((None, *ErrorVariant)),
            body=rng.choice(("error", "error", "html", "empty", "rubbish")),
            retry_after=rng.choice(RETRY_AFTER),
            after_commit=status >= 500 and self._dice.sometimes(0.4),
        )

    def _s3_fault(self) -> cloud.Fault:
        dice, rng = self._dice, self._rng
        if dice.profile is ApiProfile.E and dice.sometimes(0.15):
            return cloud.BitRot()  # the older generations can't notice
        faults: dict[Callable[[], cloud.Fault], int] = {
            lambda: cloud.ResetMidBody(after_bytes=rng.choice((0, 1, 100, 2000))): 35,
            lambda: cloud.SlowReader(bytes_per_s=rng.choice((20, 500, 5000))): 15,
            lambda: self._s3_refusal(close=dice.sometimes(0.3)): 50,
        }
        return self._weighed(faults)()

    def _s3_refusal(self, *, close: bool) -> cloud.S3Refusal:
        refusal: Any = self._weighed(S3_REFUSALS)
        return cloud.S3Refusal(refusal=refusal, close=close)

    def _cloud_spell(self) -> Happening:
        dice, rng = self._dice, self._rng
        serial, at, lasts = dice.serial(), dice.when(), dice.long()
        drawn: tuple[Callable[[], Happening], ...] = (
            lambda: KeyRefused(at=at, lasts=lasts, status=rng.choice((401, 401, 403))),
            lambda: NoNetwork(at=at, lasts=lasts, resets=dice.sometimes(0.3)),
            lambda: NoNetwork(at=at, lasts=lasts),
            lambda: Unbound(at=at, lasts=lasts, serial=serial),
            lambda: Lent(at=at, lasts=lasts, serial=serial),
        )
        return rng.choice(drawn)()

    # -- the hub -------------------------------------------------------------------------------------------------------

    def _death(self) -> Happening:
        dice, rng = self._dice, self._rng
        at, back_after_s = dice.when(), dice.long() if dice.sometimes(0.3) else 2.0
        if dice.sometimes(0.2):
            return Stops(at=at, lasts=back_after_s)
        if dice.sometimes(0.4):
            return Dies(at=at, lasts=back_after_s)
        kind = rng.choice(sorted(rng.choice((HTTP, GATT, KINDS))))
        moment = rng.choice(sorted(moments_of(kind)))
        return DiesAround(at=at, kind=kind, nth=rng.choice((1, 1, 2, 4)), moment=moment)

    def _many_deaths(self) -> Iterator[Happening]:
        """One life after the other ends soon, wherever it is."""
        at = self._rng.choice(self._dice.busy)
        for _ in range(self._rng.randint(5, 15)):
            at += self._rng.expovariate(1 / 15.0)
            yield replace(self._death(), at=round(at, 2), lasts=2.0)

    def _hub_spell(self) -> Happening:
        dice, rng = self._dice, self._rng
        at, lasts = dice.when(), dice.long()
        drawn: tuple[Callable[[], Happening], ...] = (
            lambda: DiskFull(at=at, lasts=lasts),
            lambda: DiskFails(
                at=at,
                lasts=lasts,
                nth=rng.randint(1, 40),
                times=rng.choice((1, 1, 5, 30)),
                code=rng.choice(DISK_ERRORS),
            ),
            lambda: ClockWrong(at=at, lasts=lasts, by_s=rng.choice(CLOCK_ERRORS), noticed=dice.sometimes(0.7)),
            lambda: SpoolLost(at=at, lasts=5.0, noise_at=None if dice.sometimes(0.4) else rng.random()),
        )
        return rng.choice(drawn)()

    # -- people --------------------------------------------------------------------------------------------------------

    def _people(self) -> Happening:
        dice = self._dice
        drawn: tuple[Callable[[], Happening], ...] = (
            lambda: PhoneTakes(at=dice.when(), serial=dice.serial()),
            lambda: DeletedInCloud(at=dice.when()),
            lambda: HumanRetries(at=dice.when()),
        )
        return self._rng.choice(drawn)()
