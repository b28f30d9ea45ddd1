"""The last happenings, in memory: what ``tail`` and other live views read while the log itself goes elsewhere."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from bota_gateway.model import WallClock
from bota_gateway.status import repeats, words
from bota_gateway.status.catalogue import BY_NAME, LEVELS

KEPT: Final = 1_000
"""Happenings: a busy hub's last hour, in about half a megabyte."""
OWN: Final = frozenset({"event", "level", "timestamp", "recorder", "recording", "exc_info", "exception"})
"""What a happening tells in a place of its own, or not at all."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One log line, as data."""

    number: int
    """Counts up from 1 within one life of the daemon."""
    at: float
    """Unix seconds."""
    level: str
    event: str
    says: str
    """The sentence of the catalogue, filled in."""
    recorder: str | None
    recording: str | None
    fields: Mapping[str, Any]


def says(event: Mapping[str, Any]) -> str:
    """What a log event tells a person: the sentence of the catalogue with its fields filled in."""
    name = str(event["event"])
    known = BY_NAME.get(name)
    sentence = words.sentence(known.says, event) if known else name.replace("_", " ")
    return sentence + repeats.words_of(event, time.time())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which happenings somebody wants to see."""

    level: str = "debug"
    """This one and those above it."""
    recorder: str | None = None
    """A serial, or its last digits."""
    recording: str | None = None
    """A file id, or its first digits."""

    def takes(self, happening: Happening) -> bool:
        """Whether it is one of them."""
        return (
            LEVELS[happening.level] >= LEVELS[self.level]
            and (self.recorder is None or (happening.recorder or "").upper().endswith(self.recorder.upper()))
            and (self.recording is None or (happening.recording or "").startswith(self.recording))
        )


class Story:
    """A bounded ring of happenings. A structlog processor that comes after the redacting one, so it holds no secret."""

    def __init__(self, now: WallClock = time.time) -> None:
        self._now = now
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._changed = asyncio.Event()
        self.number = 0
        """Of the newest happening; 0 before the first."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often each event was logged at each level."""
        self.bytes: Counter[str] = Counter()
        """The ``bytes`` of each event, added up."""

    def count(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Processor: count what happens, also what is not told each time."""
        if not repeats.is_retold(event):
            self.counts[str(event["event"]), str(event.get("level", "info"))] += 1
            if isinstance(count := event.get("bytes"), int):
                self.bytes[str(event["event"])] += count
        return event

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Processor: take note of the event and hand it on unchanged."""
        name, level = str(event["event"]), str(event.get("level", "info"))
        self.number += 1
        self._kept.append(
            Happening(
                number=self.number,
                at=self._now(),
                level=level,
                event=name,
                says=words.printable(says(event)),
                recorder=event.get("recorder"),
                recording=event.get("recording"),
                fields={key: value for key, value in event.items() if key not in OWN},
            )
        )
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return event

    def since(self, number: int) -> list[Happening]:
        """Those after ``number`` that are still kept, oldest first."""
        return [happening for happening in self._kept if happening.number > number]

    async def wait(self, number: int) -> None:
        """Wait until there is one after ``number``."""
        while self.number <= number:
            await self._changed.wait()

    def last(self, count: int, wanted: Wanted) -> list[Happening]:
        """The newest ``count`` that are wanted, oldest first."""
        found = [happening for happening in self._kept if wanted.takes(happening)]
        return found[max(0, len(found) - count) :]

    async def follow(self, count: int, wanted: Wanted) -> AsyncIterator[dict[str, Any]]:
        """The newest ``count`` that are wanted, then each one as it happens, without end."""
        number = self.number
        for happening in self.last(count, wanted):
            yield asdict(happening)
        while True:
            await self.wait(number)
            for happening in self.since(number):
                number = happening.number
                if wanted.takes(happening):
                    yield asdict(happening)
