"""How long audio stays here when the hub's clock is set meanwhile."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bota_gateway.daemon.tidying import TIDY_EVERY_S, Tidying
from bota_gateway.model import Custody
from support.uploading import STARTS_AT, Hub, hub

pytestmark = pytest.mark.virtual_time

HOUR = 3600.0
RETENTION_S = 3 * HOUR
IN_1970 = 100.0 - STARTS_AT


async def confirm(it: Hub) -> None:
    """The recorder deletes what the cloud has, and shows it."""
    (row,) = await it.spool.recordings()
    await it.spool.intend_confirm(row.id)
    await it.spool.reconcile(row.key.serial, [], complete=True)
    assert (await it.spool.recording(row.id)).state is Custody.CONFIRMED


async def until_deleted(it: Hub) -> float:
    """Seconds until the audio is deleted here."""
    began = asyncio.get_running_loop().time()
    while any(row.released_at is None for row in await it.spool.recordings()):
        await it.spool.wait_for_change(it.spool.revision)
    return asyncio.get_running_loop().time() - began


def tidying(it: Hub) -> Tidying:
    """A daemon's, as after its start."""
    return Tidying(it.spool, it.wall, RETENTION_S)


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("before", [IN_1970, -30 * 24 * HOUR])
async def test_retention_is_not_over_because_the_clock_was_set_forward(
    tmp_path: Path, before: float, confirmed: bool
) -> None:
    """What was noted in 1970, or a month ago, looks old a minute later: its audio stays the whole retention."""
    async with hub(tmp_path) as it:
        it.wall.offset_s = before
        await it.capture()
        await it.upload()
        if confirmed:
            await confirm(it)
        with capture_logs() as told:
            async with it.running(tidying(it)):
                await asyncio.sleep(TIDY_EVERY_S / 2)
                it.wall.offset_s = 0.0
                assert RETENTION_S <= await until_deleted(it) <= RETENTION_S + 2 * TIDY_EVERY_S
    assert [line["event"] for line in told].count("clock_leapt") == 1


async def test_retention_counts_from_the_cloud_where_the_deletion_was_seen_in_1970(tmp_path: Path) -> None:
    """Stored by a right clock, deleted after a boot in 1970, and only the next life has the time: not over yet."""
    async with hub(tmp_path) as it:
        await it.capture()
        await it.upload()
        it.wall.offset_s = IN_1970
        await confirm(it)
        it.wall.offset_s = 0.0
        async with it.running(tidying(it)):
            assert RETENTION_S - 60 <= await until_deleted(it) <= RETENTION_S + TIDY_EVERY_S


@pytest.mark.parametrize("jump", [0.0, -HOUR, 30.0])
async def test_a_right_clock_a_correction_and_a_setting_back_lose_no_retention(tmp_path: Path, jump: float) -> None:
    """Three hours are three hours; a clock that is set back by one may make them four, and never fewer."""
    async with hub(tmp_path) as it:
        await it.capture()
        await it.upload()
        await confirm(it)
        with capture_logs() as told:
            async with it.running(tidying(it)):
                await asyncio.sleep(TIDY_EVERY_S / 2)
                it.wall.offset_s = jump
                late = max(0.0, -jump)
                took = TIDY_EVERY_S / 2 + await until_deleted(it)
        assert RETENTION_S - 60 <= took <= RETENTION_S + late + TIDY_EVERY_S
    assert "clock_leapt" not in [line["event"] for line in told]
