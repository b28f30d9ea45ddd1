"""The scenarios, in the order in which they are played. docs/vm.md is made from their names and docstrings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vm import play_bluez, play_custody, play_daemon, play_install, play_links, play_power
from vm.scene import Scene

Play = Callable[[Scene], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them."""

    name: str
    what: str
    """What happens and what must follow, in a sentence or two."""
    play: Play
    """Returns what was seen, in a few words; raises when it was not as it must be."""


def _of(play: Play) -> Scenario:
    return Scenario(play.__name__.replace("_", "-"), " ".join((play.__doc__ or "").split()), play)


PLAYS: tuple[Play, ...] = (
    *play_links.PLAYS_FIRST,
    *play_links.PLAYS,
    *play_bluez.PLAYS,
    *play_daemon.PLAYS,
    *play_power.PLAYS,
    *play_install.PLAYS,
    *play_links.PLAYS_WITH_OTHER_SETTINGS,
    *play_custody.PLAYS,
)
SCENARIOS = [_of(play) for play in PLAYS]
_LONGEST = (*play_power.PLAYS, *play_install.PLAYS, play_links.ten_recorders)
LONGEST = [one for one in SCENARIOS if one.play in _LONGEST]
"""Begun before all others, so that no machine is at one of them when the others have nothing left to do."""
FIRST = [one for one in SCENARIOS if one.play in play_links.PLAYS_FIRST]
"""What every machine begins with."""
LAST = [one for one in SCENARIOS if one.play in play_custody.PLAYS]
"""What every machine ends with."""
