"""Makes the checks side by side: each has its own time limit, and none stops another."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from bota_gateway.cli.doctor import bluetooth, cloud, gateway, hub, spool
from bota_gateway.cli.doctor.cases import Check, Finding, Hindrance
from bota_gateway.cli.doctor.facts import Facts

CHECKS: Final[tuple[type[Check], ...]] = (
    gateway.Configuration,
    gateway.Daemon,
    gateway.Recorders,
    hub.Clock,
    hub.Disk,
    hub.Card,
    spool.Spool,
    bluetooth.Adapters,
    bluetooth.Rfkill,
    bluetooth.Bluetoothd,
    bluetooth.Permission,
    bluetooth.Timing,
    cloud.Key,
    cloud.Api,
    cloud.Scopes,
    cloud.Generation,
    cloud.S3,
    cloud.Budget,
)
"""In the order in which they are told."""


async def examine(facts: Facts, checks: Sequence[type[Check]] = CHECKS) -> list[Finding]:
    """Make the checks; what each found, in their order."""
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(_made(check(), facts), name=check.name) for check in checks]
    return [finding for one in made for finding in one.result()]


async def _made(check: Check, facts: Facts) -> list[Finding]:
    if check.needs_settings and facts.settings is None:
        return [check.not_made(Hindrance.UNCONFIGURED)]
    found: list[Finding] = []
    try:
        async with asyncio.timeout(check.limit_s), aclosing(check.look(facts)) as looking:
            async for finding in looking:
                found.append(finding)  # noqa: PERF401 - what came before a time-out is kept
    except TimeoutError:
        found.append(check.not_made(Hindrance.TIMED_OUT, limit_s=check.limit_s))
    except Exception as defect:  # noqa: BLE001 - the others have to be told
        found.append(check.not_made(Hindrance.BROKEN, reason=repr(defect)))
    return found
