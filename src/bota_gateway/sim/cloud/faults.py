"""Misbehaviour on command: one schedule for the API and S3, the same in Python and over HTTP.

A rule names a route, the calls it strikes and a fault::

    cloud.faults.add("POST /recordings", LostAfterCommit())             # the next create: done, answer lost
    cloud.faults.add("PUT s3", ResetMidBody(after_bytes=4096), nth=2, times=3)
    cloud.faults.add("* /recordings/*", Status(status=503), times=None, chance=0.2)

Routes are ``METHOD template`` without ``/v1``, such as ``POST /recordings/{id}/upload-url``; S3's are ``PUT s3`` and
``GET s3``. ``*`` and ``?`` are wildcards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bota_gateway.sim.cloud.options import ErrorVariant


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LostBeforeCommit(_Fault):
    """The connection is reset; nothing was done."""

    kind: Literal["lost_before_commit"] = "lost_before_commit"


class LostAfterCommit(_Fault):
    """Everything was done; the connection is reset before the answer. At S3: stored, answer lost."""

    kind: Literal["lost_after_commit"] = "lost_after_commit"


class LateCommit(_Fault):
    """The connection is reset at once, and the call is carried out only ``delay_s`` later: a race for reconciling."""

    kind: Literal["late_commit"] = "late_commit"
    delay_s: float = Field(gt=0)


class Status(_Fault):
    """Another answer in place of the right one."""

    kind: Literal["status"] = "status"
    status: int = Field(ge=200, le=599)
    code: str = "processing_error"
    message: str = "commanded by a fault rule"
    variant: ErrorVariant | None = None
    """Error body's shape; None: as the emulator is set."""
    body: Literal["error", "html", "empty", "rubbish"] = "error"
    """``html`` is what a proxy in between says; ``rubbish`` claims to be JSON and is none."""
    retry_after: str | None = None
    """Value of a Retry-After header: seconds or an HTTP date."""
    after_commit: bool = False
    """True: the call was carried out all the same."""


class Slow(_Fault):
    """The right answer, late."""

    kind: Literal["slow"] = "slow"
    delay_s: float = Field(gt=0)


class Stall(_Fault):
    """No answer at all; the connection stays open until the client or the emulator gives up."""

    kind: Literal["stall"] = "stall"
    after_commit: bool = False


class Redirect(_Fault):
    """Sends the client elsewhere."""

    kind: Literal["redirect"] = "redirect"
    location: str = "http://127.0.0.1:9/elsewhere"
    status: Literal[301, 302, 303, 307, 308] = 307


class OversizedBody(_Fault):
    """The right answer with this many bytes of padding: what a response size cap is for."""

    kind: Literal["oversized_body"] = "oversized_body"
    extra_bytes: int = Field(gt=0)


class TruncatedAnswer(_Fault):
    """The right answer, cut after ``keep_bytes`` of its body by a reset; the call was carried out."""

    kind: Literal["truncated_answer"] = "truncated_answer"
    keep_bytes: int = Field(10, ge=0)


class EditedAnswer(_Fault):
    """The right answer with top-level fields left out or replaced; the call was carried out."""

    kind: Literal["edited_answer"] = "edited_answer"
    remove: tuple[str, ...] = ()
    replace: Mapping[str, Any] = Field(default_factory=dict)


class S3Refusal(_Fault):
    """S3 refuses before it reads the body, with AWS's status, code and words."""

    kind: Literal["s3_refusal"] = "s3_refusal"
    refusal: Literal[
        "expired",
        "not_yet_valid",
        "denied",
        "signature",
        "expired_token",
        "too_large",
        "incomplete",
        "bad_digest",
        "timeout",
        "no_bucket",
        "slow_down",
        "internal",
    ]
    close: bool = False
    """True: the connection is reset right after the answer, while the body is still being sent."""


class ResetMidBody(_Fault):
    """S3 resets the connection once this much of the body has arrived; nothing is stored."""

    kind: Literal["reset_mid_body"] = "reset_mid_body"
    after_bytes: int = Field(ge=0)


class SlowReader(_Fault):
    """S3 reads the body at this pace."""

    kind: Literal["slow_reader"] = "slow_reader"
    bytes_per_s: int = Field(gt=0)


class BitRot(_Fault):
    """S3 answers 200 and stores the body with one bit flipped, at a place the seed chooses."""

    kind: Literal["bit_rot"] = "bit_rot"


Fault = (
    LostBeforeCommit
    | LostAfterCommit
    | LateCommit
    | Status
    | Slow
    | Stall
    | Redirect
    | OversizedBody
    | TruncatedAnswer
    | EditedAnswer
    | S3Refusal
    | ResetMidBody
    | SlowReader
    | BitRot
)


class Rule(BaseModel):
    """Which calls a fault strikes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: str
    """``METHOD template``, with wildcards."""
    fault: Annotated[Fault, Field(discriminator="kind")]
    nth: int = Field(1, ge=1)
    """The first matching call that is struck, counted from when the rule was added."""
    times: int | None = Field(1, ge=1)
    """How many calls are struck from there on; None: all of them."""
    chance: float = Field(1.0, gt=0, le=1)
    """Probability of striking a call that ``nth`` and ``times`` leave to it; drawn from the seed."""
    target: str | None = None
    """Strikes only calls whose path contains this, such as one recording's id."""


RULES: TypeAdapter[Rule] = TypeAdapter(Rule)


@dataclass(slots=True)
class _Armed:
    rule: Rule
    matched: int = 0
    fired: int = 0

    def strikes(self, route: str, path: str, random: Random) -> bool:
        rule = self.rule
        if not fnmatchcase(route, rule.route) or (rule.target is not None and rule.target not in path):
            return False
        self.matched += 1
        if self.matched < rule.nth or (rule.times is not None and self.fired >= rule.times):
            return False
        return random.random() < rule.chance


class CloudFaults:
    """The schedule. Rules are tried in the order they were added; the first that strikes a call is its fault."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._armed: list[_Armed] = []

    def add(
        self,
        route: str,
        fault: Fault,
        *,
        nth: int = 1,
        times: int | None = 1,
        chance: float = 1.0,
        target: str | None = None,
    ) -> Rule:
        """Arms a fault; see ``Rule`` for the meaning of each word."""
        return self.arm(Rule(route=route, fault=fault, nth=nth, times=times, chance=chance, target=target))

    def arm(self, rule: Rule) -> Rule:
        """Arms a rule that is already made."""
        self._armed.append(_Armed(rule))
        return rule

    def disarm(self, rule: Rule) -> int:
        """Forgets one rule; gives back how many calls it struck."""
        fired = self.fired(rule)
        self._armed = [armed for armed in self._armed if armed.rule is not rule]
        return fired

    def clear(self) -> None:
        """Forgets every rule: the cloud behaves again."""
        self._armed.clear()

    def fired(self, rule: Rule) -> int:
        """How many calls a rule has struck."""
        return sum(armed.fired for armed in self._armed if armed.rule is rule)

    def report(self) -> list[dict[str, object]]:
        """Every rule with how often it matched and struck."""
        return [
            {**armed.rule.model_dump(mode="json"), "matched": armed.matched, "fired": armed.fired}
            for armed in self._armed
        ]

    def take(self, route: str, path: str) -> Fault | None:
        """The fault that strikes this call, if any."""
        struck: Fault | None = None
        for armed in self._armed:
            # Every rule counts every call, so that ``nth`` means what it says beside other rules.
            if armed.strikes(route, path, self.random) and struck is None:
                armed.fired += 1
                struck = armed.rule.fault
        return struck
