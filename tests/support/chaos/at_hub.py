"""What happens to the hub, and what people do there."""

# ruff: noqa: D102 - what begin, end, name and parks mean stands in Happening

import random
import shutil
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bota_gateway.spool import Moment as SpoolMoment
from bota_gateway.spool import Step
from bota_gateway.spool.const import DATABASE_NAME, PAGE_BYTES
from support.chaos.happening import NOBODY, Happening

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld


@dataclass(frozen=True, kw_only=True)
class Dies(Happening):
    """The gateway is killed, and started again after ``lasts`` seconds."""

    async def begin(self, world: "ChaosWorld") -> None:
        world.kill(back_after_s=self.lasts)


@dataclass(frozen=True, kw_only=True)
class DiesAround(Happening):
    """From now on the gateway is killed at a moment of the n-th effect of a kind."""

    kind: str
    nth: int
    moment: str

    counted = False

    async def begin(self, world: "ChaosWorld") -> None:
        world.kill_around(self.kind, self.nth, self.moment)


@dataclass(frozen=True, kw_only=True)
class Stops(Happening):
    """The gateway is told to stop (SIGTERM), and started again after ``lasts`` seconds."""

    async def begin(self, world: "ChaosWorld") -> None:
        await world.stop(back_after_s=self.lasts)


@dataclass(frozen=True, kw_only=True)
class SpoolLost(Happening):
    """The gateway is stopped, and finds its spool gone, or (``noise_at``) a page of it overwritten with noise."""

    noise_at: float | None = None
    """Where in the file, from 0 to 1."""

    @property
    def parks(self) -> frozenset[str]:
        return NOBODY if self.noise_at is None else frozenset({"spool_bit_rot"})

    async def begin(self, world: "ChaosWorld") -> None:
        await world.stop(back_after_s=self.lasts)
        database = world.next_spool / DATABASE_NAME
        if self.noise_at is None:
            shutil.rmtree(world.next_spool, ignore_errors=True)  # it may be gone already
        elif database.exists():
            with database.open("r+b") as file:
                pages = database.stat().st_size // PAGE_BYTES
                file.seek(int(self.noise_at * pages) * PAGE_BYTES)
                file.write(random.Random(self.at).randbytes(PAGE_BYTES))


@dataclass(frozen=True, kw_only=True)
class DiskFull(Happening):
    """The disk of the spool is full."""

    async def begin(self, world: "ChaosWorld") -> None:
        world.disk_free = 0

    async def end(self, world: "ChaosWorld") -> None:
        world.disk_free = None


@dataclass(frozen=True, kw_only=True)
class DiskFails(Happening):
    """The n-th write to the spool from now on fails, and so do the next ones."""

    nth: int
    times: int = 1
    code: int = sqlite3.SQLITE_IOERR_WRITE

    async def begin(self, world: "ChaosWorld") -> None:
        left = [self.nth + self.times - 1]

        def fail(_step: Step, moment: SpoolMoment) -> None:
            if moment is SpoolMoment.BEFORE_COMMIT and left[0] > 0:
                left[0] -= 1
                if left[0] < self.times:
                    raise _sqlite_error(self.code)

        world.on_write = fail

    async def end(self, world: "ChaosWorld") -> None:
        world.on_write = None


def _sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("commanded by a schedule")
    error.sqlite_errorcode = code
    error.sqlite_errorname = {
        sqlite3.SQLITE_IOERR_WRITE: "SQLITE_IOERR_WRITE",
        sqlite3.SQLITE_IOERR_FSYNC: "SQLITE_IOERR_FSYNC",
        sqlite3.SQLITE_FULL: "SQLITE_FULL",
    }[code]
    return error


@dataclass(frozen=True, kw_only=True)
class ClockWrong(Happening):
    """The hub's clock is off by so much; whether anybody knows depends on ``noticed``."""

    by_s: float
    noticed: bool = True

    async def begin(self, world: "ChaosWorld") -> None:
        world.clock_off_by_s = self.by_s
        world.clock_is_trusted = not self.noticed

    async def end(self, world: "ChaosWorld") -> None:
        world.clock_off_by_s = 0.0
        world.clock_is_trusted = True


@dataclass(frozen=True, kw_only=True)
class HumanForgets(Happening):
    """Somebody has the hub forget one of the recordings that it knows, whatever becomes of it."""

    nth: int
    counted = False

    async def begin(self, world: "ChaosWorld") -> None:
        await world.forget_one(self.nth)


@dataclass(frozen=True, kw_only=True)
class HumanWantsAgain(Happening):
    """Somebody wants everything after all that was forgotten by hand."""

    counted = False

    async def begin(self, world: "ChaosWorld") -> None:
        await world.want_all_again()


@dataclass(frozen=True, kw_only=True)
class HumanRetries(Happening):
    """Somebody asks for another try of everything that is parked or waits."""

    counted = False

    async def begin(self, world: "ChaosWorld") -> None:
        await world.retry_all()
