"""What is thrown first: how long a schedule is, with which recorders, and when most of it happens."""

import math
from random import Random

from bota_gateway.sim.cloud.options import ApiProfile
from support.chaos.schedule import DAYS, HOURS, WEEKS

BRIEFLY_S = 20.0
"""How long after an arrival most of what follows from it is done, about."""


class Dice:
    """The source of a schedule's chance, and the frame of what is drawn with it."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.pace = rng.choices((HOURS, DAYS, WEEKS), (87, 11, 2))[0]
        recorders = rng.choices((1, 2, 3, 4), (45, 30, 15, 10) if self.pace is HOURS else (70, 30, 0, 0))[0]
        self.serials = tuple(f"{rng.choice(('PIN', 'NOTE'))}{number:07d}" for number in range(1, recorders + 1))
        self.profile = rng.choices((ApiProfile.E, ApiProfile.D2, ApiProfile.D1), (76, 14, 10))[0]
        self.busy = [0.0, *(round(rng.uniform(200, self.pace.horizon_s), 1) for _ in range(rng.randint(0, 3)))]
        """When recorders come into range with something new: there, most things happen."""

    def when(self) -> float:
        """Mostly while there is something to do."""
        if self.sometimes(0.15):
            return round(self.rng.uniform(0, self.pace.horizon_s), 2)
        return round(self.rng.choice(self.busy) + self.rng.choice((0.0, 1.0)) * self.rng.expovariate(1 / BRIEFLY_S), 2)

    def long(self) -> float:
        """Anything from a second to most of the schedule."""
        return round(math.exp(self.rng.uniform(0, math.log(self.pace.horizon_s * 0.6))), 1)

    def serial(self) -> str:
        """One of the recorders."""
        return self.rng.choice(self.serials)

    def sometimes(self, chance: float) -> bool:
        """True with this probability."""
        return self.rng.random() < chance
