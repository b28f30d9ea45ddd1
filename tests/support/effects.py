"""Every effect that the gateway has outside its memory, named and numbered; and the moments at which it can die.

The list is closed. An effect of a kind that does not stand here makes the run that met it fail: whoever gives the
gateway a new way to change the world must put it on the list, so that dying around it is tried, too.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Opcode, decode_command
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.spool import Moment as SpoolMoment
from bota_gateway.spool import Step


class Moment(StrEnum):
    """Where around an effect on another machine a death can fall."""

    BEFORE = "before"
    """Nothing has left."""
    UNDER_WAY = "under_way"
    """Part of a body has left; only uploads of several pieces have this moment."""
    ACTED = "acted"
    """The other side has done it; its answer has not arrived."""
    ANSWERED = "answered"
    """The answer, or the news that there is none, has arrived, and nothing was done with it yet."""


HTTP: Final = frozenset(
    {
        "GET /devices",
        "GET /devices/{id}",
        "GET /recordings",
        "GET /recordings/{id}",
        "POST /recordings",
        "POST /recordings/{id}/upload-url",
        "POST /recordings/{id}/upload-complete",
        "PUT object",
    }
)
GATT: Final = frozenset(
    {
        "write TIME_SYNC",
        "write LIST",
        "write START",
        "write ACK",
        "write NACK",
        "write ABORT",
        "write CONFIRM",
        "subscribe RECORDING_LIST",
        "unsubscribe RECORDING_LIST",
        "subscribe RECORDING_TRANSFER",
        "unsubscribe RECORDING_TRANSFER",
    }
)
SPOOL: Final = frozenset(f"spool {step}" for step in Step)
KINDS: Final = HTTP | GATT | SPOOL


def moments_of(kind: str) -> frozenset[str]:
    """The moments of an effect of this kind."""
    if kind in SPOOL:
        return frozenset(SpoolMoment)
    return frozenset(Moment) - (frozenset() if kind == "PUT object" else {Moment.UNDER_WAY})


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One place to die at: a moment of the n-th effect of a kind, counted from 1."""

    kind: str
    nth: int
    moment: str

    def __str__(self) -> str:
        return f"{self.kind} #{self.nth} {self.moment}"

    @classmethod
    def parse(cls, text: str) -> "Point":
        """The point that prints like this."""
        kind, nth, moment = re.fullmatch(r"(.+) #(\d+) (\w+)", text).groups()  # type: ignore[union-attr]  # else: fails
        return cls(kind, int(nth), moment)


@dataclass
class Effects:
    """The effects of one life, in order; calls ``die`` when the chosen point is reached."""

    die_at: Point | int | None = None
    """A point by its name, or by its place in the order of this life, counted from 1."""
    die: Callable[[], None] = lambda: None
    noted: Callable[[], None] = lambda: None
    """Called at each point, after it was noted."""
    over: bool = False
    """The life has ended: whatever its remains do is no effect any more."""
    points: list[Point] = field(default_factory=list)
    under_way: list[str] = field(default_factory=list)
    """Effects that have left and that nobody has acted on yet."""
    transactions: int = 0
    """Begun by the spool under a name."""
    unknown: set[str] = field(default_factory=set)
    _count: Counter[str] = field(default_factory=Counter)

    def begin(self, kind: str) -> "Effect":
        """An effect is about to happen."""
        self._count[kind] += 1
        if kind not in KINDS and not self.over:
            self.unknown.add(kind)
        return Effect(self, kind, self._count[kind])

    def reach(self, point: Point) -> None:
        """A moment has come."""
        if self.over:
            return
        self.points.append(point)
        self.noted()
        if self.die_at in (point, len(self.points)):
            self.over = True
            self.die()

    def spool(self, step: Step, moment: SpoolMoment) -> None:
        """A probe for the spool."""
        kind = f"spool {step}"
        if moment is SpoolMoment.BEGUN:
            self._count[kind] += 1
            self.transactions += 1
        self.reach(Point(kind, self._count[kind], moment))


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect on another machine."""

    effects: Effects
    kind: str
    nth: int

    def reach(self, moment: Moment) -> None:
        """One of its moments has come."""
        self.effects.reach(Point(self.kind, self.nth, moment))
        name, under_way = f"{self.kind} #{self.nth}", self.effects.under_way
        if moment is Moment.BEFORE:
            under_way.append(name)
        elif moment is not Moment.UNDER_WAY and name in under_way:
            under_way.remove(name)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Before and answered; whoever sees the other side act says so."""
        self.reach(Moment.BEFORE)
        try:
            yield
        finally:
            self.reach(Moment.ANSWERED)


_NAMES: Final = {value: name for name, value in vars(uuids).items() if isinstance(value, str) and value.count("-") == 4}
_ID: Final = re.compile(r"/(?:dev|rec)_[A-Za-z0-9]+")


def route(method: str, path: str, *, is_api: bool) -> str:
    """A request by its route's template."""
    return f"{method} {_ID.sub('/{id}', path.removeprefix('/v1'))}" if is_api else f"{method} object"


def written(characteristic: str, value: bytes) -> str:
    """A write by the name of its command, or of its characteristic."""
    if characteristic in {uuids.TRANSFER_CONTROL, uuids.RECORDING_TRANSFER}:
        try:
            return f"write {Opcode(decode_command(value).opcode).name}"
        except DecodeError:
            return f"write {_NAMES[characteristic]} {value.hex()}"
    return f"write {_NAMES.get(characteristic, characteristic)}"


def subscribed(characteristic: str, value: bytes) -> str:
    """A write to a characteristic's configuration."""
    verb = "subscribe" if int.from_bytes(value, "little") else "unsubscribe"
    return f"{verb} {_NAMES.get(characteristic, characteristic)}"
