"""Every event that the gateway logs: one name for each happening.

``says`` is what a person reads; the fields are what a machine reads. ``docs/log-events.md`` is generated from here,
and a test fails on an event that is not here.
"""

import string
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Event:
    """One kind of happening."""

    name: str
    level: str
    says: str
    """Template for people, with fields and units of ``words.sentence``."""
    meaning: str
    fields: tuple[str, ...] = ()
    todo: str = "Nothing."

    @cached_property
    def fields_told(self) -> frozenset[str]:
        """The fields that ``says`` already tells, so that the console does not repeat them."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.says) if name)


EVENTS: tuple[Event, ...] = ()

BY_NAME = {event.name: event for event in EVENTS}
