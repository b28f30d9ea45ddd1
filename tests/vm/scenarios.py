"""The scenarios, in the order in which they are played."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vm.scene import Scene

Play = Callable[[Scene], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them."""

    name: str
    what: str
    """What happens and what must follow, in a sentence."""
    play: Play
    """Returns what was seen, in a few words; raises when it was not as it must be."""


SCENARIOS: list[Scenario] = []


def scenario(play: Play) -> Play:
    """Adds a function to the list, by its name and its docstring."""
    SCENARIOS.append(Scenario(play.__name__.replace("_", "-"), " ".join((play.__doc__ or "").split()), play))
    return play


@scenario
async def three_recorders(scene: Scene) -> str:
    """Three recorders hold seven recordings; all of them come home through the service as installed."""
    await scene.gateway()
    for sizes in ((40_000, 5_000), (30_000, 20_000, 1_000), (50_000, 3_000)):
        await scene.recorder(*sizes)
    await scene.home()
    connections = sum(one.seen.connections for one in scene.on_air)
    return f"{len(scene.held)} recordings in {connections} visits"
