"""Carries the radio's counts over from life to life: radio may not know the spool, so the daemon brings them there."""

import asyncio
from collections.abc import Mapping

import structlog

from bota_gateway.errors import SpoolError
from bota_gateway.radio import Tally
from bota_gateway.spool import Spool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

KEEP_EVERY_S = 60.0
"""What is counted is rare; should it not be, the card is written to once a minute at most."""


async def keep_counts(tally: Tally, spool: Spool) -> None:
    """Bring every change into the spool until cancelled, and the last ones then."""
    kept = await spool.counters()
    revision = tally.revision - 1  # what was counted before this began is kept, too
    try:
        while True:
            revision = await tally.wait_for_change(revision)
            await _keep(tally.counts, kept, spool)
            await asyncio.sleep(KEEP_EVERY_S)
    finally:
        await _keep(tally.counts, kept, spool)


async def _keep(counts: Mapping[tuple[str, str], int], kept: dict[tuple[str, str], int], spool: Spool) -> None:
    changed = {key: count for key, count in counts.items() if kept.get(key) != count}
    if not changed:
        return
    try:
        await spool.keep_counters(changed)
    except SpoolError as error:  # custody tells of such a disk; counters are not worth a failing part
        log.debug("counters_not_kept", reason=error.message)
        return
    kept.update(changed)
