"""The machine: its clock, and the disk that the spool is on."""

from collections.abc import AsyncGenerator
from typing import Final

from bota_gateway.cli.doctor.cases import Check, Finding, failure, not_checked, ok, warning
from bota_gateway.cli.doctor.facts import Facts, in_thread
from bota_gateway.spool import disk

CLOCK_OFF_S: Final = 120.0
"""Presigned URLs, certificates and recorders bear minutes; a clock that is kept is right to fractions of a second."""
WORN_PERCENT: Final = 90
"""An eMMC in its last tenth but one has years of a hub's writing behind it; time to order another."""


class Clock(Check):
    """Whether something keeps the hub's clock right, and whether it agrees with the cloud's."""

    group = "Hub"
    name = "clock"
    needs_settings = False
    limit_s = 60.0
    KEPT = ok("is synchronised")
    AGREES = ok("agrees with the cloud's")
    UNKEPT = warning(
        "is not synchronised: recorders are not given the time", "See: timedatectl; sudo timedatectl set-ntp true"
    )
    OFF = warning("is {off:duration} off the cloud's", "See: timedatectl; sudo timedatectl set-ntp true")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask the kernel, and compare with the time of the cloud's answers where one came."""
        yield self.KEPT() if facts.hub.clock_is_trusted() else self.UNKEPT()
        offset = None if facts.settings is None else (await facts.cloud()).clock_offset_s
        if offset is not None:
            yield self.OFF(off=abs(offset)) if abs(offset) > CLOCK_OFF_S else self.AGREES()


class Disk(Check):
    """Free space on the spool's disk, against ``spool.min_free_bytes`` and ``spool.max_bytes``."""

    group = "Hub"
    name = "disk"
    ROOMY = ok("{free:size} free of {total:size}; the spool may take {quota:size}")
    FULL = failure(
        "{free:size} free, and spool.min_free_bytes keeps {floor:size}: no recording is pulled any more",
        "Free some space, or use a larger disk; uploads go on, and make room in the spool only.",
    )
    TIGHT = warning(
        "{free:size} free, and spool.min_free_bytes keeps {floor:size}: no room for a long recording",
        "Free some space, or use a larger disk.",
    )
    SMALL = warning(
        "spool.max_bytes is {quota:size}, and the disk gives {reach:size} at most: it fills before the spool does",
        "Set spool.max_bytes below {reach:size}, or use a larger disk.",
    )
    UNKNOWN = not_checked("{reason}", "Check spool.directory.")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask the file system; the database is not opened."""
        settings = facts.usable
        try:
            room = await in_thread(lambda: disk.room(settings.spool.directory))
        except OSError as error:
            yield self.UNKNOWN(reason=error)
            return
        floor, quota = settings.spool.min_free_bytes, settings.spool.max_bytes
        reach = max(0, room.free_bytes + room.file_bytes - floor)
        fields = {"free": room.free_bytes, "total": room.total_bytes, "floor": floor, "quota": quota, "reach": reach}
        if room.free_bytes < floor:
            yield self.FULL(**fields)
        elif room.free_bytes - floor < settings.wire.max_recording_bytes and room.file_bytes < quota:
            yield self.TIGHT(**fields)
        elif reach < quota:
            yield self.SMALL(**fields)
        else:
            yield self.ROOMY(**fields)


class Card(Check):
    """How worn the card is that the spool is on. An eMMC tells it; SD cards and most others tell nothing."""

    group = "Hub"
    name = "card"
    FRESH = ok("{device}: {life} of its life used")
    WORN = warning(
        "{device} is nearly worn out: {life} of its life used{spare}", "Order another, and replace this one."
    )
    DEAD = failure(
        "{device} is worn out: {life} of its life used{spare}",
        "Replace it now: it may stop taking writes. What is captured is uploaded first: bota-gateway status",
    )
    SILENT = not_checked("{device} does not tell how worn it is")
    UNKNOWN = not_checked("the kernel does not tell which disk the spool is on")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Read what the kernel has read from the card."""
        settings = facts.usable
        try:
            wear = await in_thread(lambda: disk.wear(settings.spool.directory, facts.hub.sys_root))
        except OSError:
            yield self.UNKNOWN()
            return
        if isinstance(wear, str):
            yield self.SILENT(device=wear)
            return
        used = wear.life_used_percent or 0
        life = "an untold part" if wear.life_used_percent is None else "all" if used > 100 else f"up to {used} %"
        spare = {2: ", most spare blocks are gone", 3: ", hardly a spare block is left"}.get(wear.reserve, "")
        case = self.DEAD if used > 100 or wear.reserve >= 3 else self.FRESH
        if case is self.FRESH and (used >= WORN_PERCENT or wear.reserve == 2):
            case = self.WORN
        yield case(device=wear.device, life=life, spare=spare)
