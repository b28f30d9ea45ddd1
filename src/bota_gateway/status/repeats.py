"""Repeated failures collapse: of the same one again and again only some are told, with their count.

What counts as the same stands with each event in the catalogue. The second is told, then each doubling, and none is
hidden for longer than an hour. What ends them says how many there were. Nothing at level error is ever hidden.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from bota_gateway.model import WallClock
from bota_gateway.status import words
from bota_gateway.status.catalogue import BY_NAME, LEVELS, Event

HIDDEN_AT_MOST_S: Final = 3600.0
ANEW_AFTER_S: Final = 24 * 3600.0
"""A failure that did not come for so long begins anew: longer than any wait between two tries."""
KEPT: Final = 500
"""Failures followed at once; more than a hub ever has going."""
WHOM: Final = "whom"
"""In the catalogue: the recorder and recording that an event is about; where no recorder is known, the address."""
ADDED: Final = frozenset({"times", "first_at", "last_at", "after_times", "failing_since"})
"""What the processor adds: ``times`` and ``first_at`` (Unix seconds) to a failure that repeats, ``last_at`` to one that
is told late, ``after_times`` and ``failing_since`` to what ends it."""

Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Run:
    """One failure, again and again."""

    event: str
    about: Key
    """What an event must be about, too, to end it; where that is nobody, the whole key."""
    first_at: float
    last_at: float
    told_at: float
    times: int = 1
    hidden: dict[str, Any] | None = field(default=None)
    """The newest one, while it is not told."""


class Repeats:
    """A structlog processor: drops what is told later, and adds the counts (`ADDED`) to what is told.

    Args:
        now: The wall clock.
    """

    def __init__(self, now: WallClock = time.time) -> None:
        self._now = now
        self._runs: OrderedDict[tuple[str, Key], _Run] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Processor.

        Raises:
            structlog.DropEvent: it is counted, and told later.
        """
        known = BY_NAME.get(str(event["event"]))
        if known is None or is_retold(event):
            return event
        key = _key(known, event)
        if known.ends:
            self._end(known.ends, key, event)
        if key is not None:
            self._count((known.name, key), event)
        return event

    def _count(self, key: tuple[str, Key], event: MutableMapping[str, Any]) -> None:
        now, run = self._now(), self._runs.get(key)
        if run is None or not 0 <= now - run.last_at <= ANEW_AFTER_S:
            self._follow(key, now)
            return
        run.times += 1
        run.last_at = now
        self._runs.move_to_end(key)
        is_step = run.times & (run.times - 1) == 0
        if not is_step and 0 <= now - run.told_at < HIDDEN_AT_MOST_S:
            run.hidden = {name: value for name, value in event.items() if name not in _NOT_RETOLD}
            self._watch()
            raise structlog.DropEvent
        run.told_at, run.hidden = now, None
        event.update(times=run.times, first_at=run.first_at)

    def _follow(self, key: tuple[str, Key], now: float) -> None:
        if replaced := self._runs.pop(key, None):
            _tell(replaced)
        name, same = key
        about = tuple((what, value) for what, value in same if what in _ABOUT) or same
        self._runs[key] = _Run(name, about, now, now, now)
        if len(self._runs) > KEPT:
            _, oldest = self._runs.popitem(last=False)
            _tell(oldest)

    def _end(self, names: tuple[str, ...], own: Key | None, event: MutableMapping[str, Any]) -> None:
        """What repeated is over."""
        ended = [
            (name, key)
            for (name, key), run in self._runs.items()
            if name in names and key != own and all(str(event.get(what)) == value for what, value in run.about)
        ]
        runs = [self._runs.pop(key) for key in ended]
        if runs and (times := max(run.times for run in runs)) > 1:
            event.update(after_times=times, failing_since=min(run.first_at for run in runs))

    # -- what nothing follows ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See that what is hidden is told in time, also if it never happens again."""
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a command, which is over before that
            return
        soonest = min(run.told_at for run in self._runs.values() if run.hidden is not None)
        wait = min(HIDDEN_AT_MOST_S, max(1.0, soonest + HIDDEN_AT_MOST_S - self._now()))
        self._timer = loop.call_later(wait, self._tell_hidden)

    def _tell_hidden(self) -> None:
        self._timer = None
        now = self._now()
        for run in list(self._runs.values()):
            if run.hidden is not None and not 0 <= now - run.told_at < HIDDEN_AT_MOST_S:
                _tell(run)
                run.told_at, run.hidden = now, None
        if any(run.hidden is not None for run in self._runs.values()):
            self._watch()


def is_retold(event: Mapping[str, Any]) -> bool:
    """Whether it is one that was hidden, and was counted then."""
    return "last_at" in event


def words_of(event: Mapping[str, Any], now: float) -> str:
    """What the counts that were added mean, to follow the event's sentence; nothing where there are none."""
    if (times := event.get("times")) is not None:
        last = f", last at {words.minute(event['last_at'], now)}" if is_retold(event) else ""
        return f", again ({times} times since {words.minute(event['first_at'], now)}{last})"
    if (times := event.get("after_times")) is not None:
        return f", after {times} tries since {words.minute(event['failing_since'], now)}"
    return ""


_ABOUT: Final = frozenset({"recorder", "recording", "address", "adapter"})
_NOT_RETOLD: Final = frozenset({"timestamp", "exc_info", "exception"})


def _key(known: Event, event: Mapping[str, Any]) -> Key | None:
    """What makes it the same as an earlier one; None where it stands for itself."""
    names = [name for name in known.collapses if name != WHOM]
    if not known.collapses or not LEVELS["info"] <= LEVELS.get(str(event.get("level")), 0) < LEVELS["error"]:
        return None
    if any(event.get(name) is None for name in names):
        return None
    if WHOM in known.collapses:
        names += ["recorder", "recording"] if event.get("recorder") is not None else ["address"]
    return tuple((name, str(event[name])) for name in names if event.get(name) is not None)


def _tell(run: _Run) -> None:
    """The newest one that was not told, now, with its own time."""
    if run.hidden is None:
        return
    level = LEVELS[run.hidden["level"]]
    fields = {name: value for name, value in run.hidden.items() if name not in {"event", "level"}}
    counts = {"times": run.times, "first_at": run.first_at, "last_at": run.last_at}
    logger = structlog.get_logger()
    # In a context of its own: whatever recorder is bound here, this is about another one.
    Context().run(lambda: logger.log(level, run.event, **fields, **counts))
