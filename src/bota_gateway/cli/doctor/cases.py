"""What a check is, and what it may find. ``docs/doctor.md`` is generated from the cases that stand in the checks."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar

from bota_gateway.cli.doctor.facts import Facts
from bota_gateway.errors import GatewayError
from bota_gateway.status.redact import redact, without_queries
from bota_gateway.status.words import sentence


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may not for long, or not as well as it could."""
    FAILURE = "failure"
    """Recordings are not fetched, not kept or not uploaded until somebody acts."""
    NOT_CHECKED = "not_checked"
    """It could not be looked at, or has no meaning here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor."""

    group: str
    check: str
    code: str
    """Which case it is; never changes once released."""
    verdict: Verdict
    found: str
    remedy: str

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return asdict(self)


class Hindrance(StrEnum):
    """What may keep any check from being made; the end of its code."""

    UNCONFIGURED = "unconfigured"
    TIMED_OUT = "timed_out"
    BROKEN = "broken"


HINDRANCES: dict[Hindrance, tuple[str, str]] = {
    Hindrance.UNCONFIGURED: ("the configuration can't be used: see config", ""),
    Hindrance.TIMED_OUT: ("no answer within {limit_s:duration}", "Try again. A disk, or the network, may hang."),
    Hindrance.BROKEN: ("this check failed: {reason}", "A defect of the doctor: report it, with a --bundle."),
}
"""What is said then, and what to do."""


class Case:
    """One thing that a check may find; called with the fields of its words, it is a finding.

    Args:
        verdict: How bad it is.
        says: What was found, with fields and units of ``words.sentence``.
        remedy: What to do; with the same fields.
    """

    def __init__(self, verdict: Verdict, says: str, remedy: str = "") -> None:
        self.verdict = verdict
        self.says = says
        self.remedy = remedy
        self.code = ""
        self._group = self._check = ""

    def __set_name__(self, owner: "type[Check]", name: str) -> None:
        self._group, self._check = owner.group, owner.name
        self.code = f"{owner.name}_{name.lower()}"

    def __call__(self, **fields: Any) -> Finding:
        """The finding."""
        found, remedy = (_safe(text, fields) for text in (self.says, self.remedy))
        return Finding(self._group, self._check, self.code, self.verdict, found, remedy)

    def of(self, error: GatewayError, **fields: Any) -> Finding:
        """The finding for an error: ``{message}``, ``{code}`` and ``{remedy}`` are its own."""
        return self(message=error.message.rstrip("."), code=error.error_code, remedy=error.next_step, **fields)


def ok(says: str) -> Case:
    """All is well."""
    return Case(Verdict.OK, says)


def warning(says: str, remedy: str) -> Case:
    """Something to see to."""
    return Case(Verdict.WARNING, says, remedy)


def failure(says: str, remedy: str) -> Case:
    """Something to mend."""
    return Case(Verdict.FAILURE, says, remedy)


def not_checked(says: str, remedy: str = "") -> Case:
    """Nothing can be said of it."""
    return Case(Verdict.NOT_CHECKED, says, remedy)


class Check(ABC):
    """Looks at one thing. Its docstring says at what; its cases are class attributes."""

    group: ClassVar[str]
    name: ClassVar[str]
    limit_s: ClassVar[float] = 15.0
    """The whole check; what it has found by then is told."""
    needs_settings: ClassVar[bool] = True
    """Whether it has no meaning while the configuration can't be used."""

    @abstractmethod
    def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Look, and tell what is found, at least one thing. May raise: that is told as well, and stops no other."""

    @classmethod
    def not_made(cls, why: "Hindrance", **fields: object) -> Finding:
        """It could not be looked at, for a reason that is no case of its own."""
        found, remedy = HINDRANCES[why]
        code = f"{cls.name}_{why}"
        return Finding(cls.group, cls.name, code, Verdict.NOT_CHECKED, _safe(found, fields), remedy)

    @classmethod
    def cases(cls) -> Iterator[Case]:
        """Everything it may find."""
        return (value for value in vars(cls).values() if isinstance(value, Case))


def _safe(text: str, fields: Mapping[str, object]) -> str:
    """The words with their fields, and without anything that works as a credential."""
    return redact(without_queries(sentence(text, fields)))
