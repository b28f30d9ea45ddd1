"""Every event that the gateway logs: one name for each happening, written down in events.toml.

A test fails on an event, a level or a field that is not there.
"""

import string
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""As the standard library numbers them."""


@dataclass(frozen=True)
class Event:
    """One kind of happening."""

    name: str
    levels: tuple[str, ...]
    says: str
    """Template for people, with fields and units of ``words.sentence``."""
    meaning: str
    fields: tuple[str, ...] = ()
    """Beside these, ``recorder`` (serial), ``recording`` (file id) and ``address`` stand with any event they fit."""
    todo: str = "Nothing."
    collapses: tuple[str, ...] = ()
    """A failure that repeats is not told each time. The fields that make it the same one (see ``repeats.py``)."""
    ends: tuple[str, ...] = ()
    """Events whose repeating this one ends."""

    @cached_property
    def fields_told(self) -> frozenset[str]:
        """The fields that ``says`` already tells, so that the console does not repeat them."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.says) if name)


def _read() -> dict[str, Event]:
    table = tomllib.loads(files("bota_gateway.status").joinpath("events.toml").read_text("utf-8"))
    return {
        name: Event(
            name,
            tuple(row.pop("levels")),
            fields=tuple(row.pop("fields", ())),
            collapses=tuple(row.pop("collapses", ())),
            ends=tuple(row.pop("ends", ())),
            **row,
        )
        for name, row in table.items()
    }


BY_NAME = _read()
