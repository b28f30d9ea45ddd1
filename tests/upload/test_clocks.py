"""Uploads on a hub whose clock is wrong, and is set while they wait: waits are waits, and intents keep their time."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from pydantic import SecretStr

from bota_gateway.cloud import BotaApi
from bota_gateway.model import Custody
from bota_gateway.sim.cloud import IdempotencyMode
from bota_gateway.sim.cloud.faults import LateCommit, LostAfterCommit, Status
from support.uploading import GENEROUS, STARTS_AT, Hub, hub

pytestmark = pytest.mark.virtual_time

CREATE = "POST /recordings"
HOUR = 3600.0
IN_1970 = 100.0 - STARTS_AT
JUMPS = [(0.0, -HOUR), (0.0, HOUR), (-HOUR, 0.0), (HOUR, 0.0), (IN_1970, 0.0)]
"""Offsets of the hub's clock before and after it is set: back, forward, an hour off at boot, 1970 at boot."""


async def upload_in_a_new_life(it: Hub) -> None:
    """As after a restart: a client that knows nothing of the server's clock yet."""
    async with BotaApi(it.settings, SecretStr(it.cloud.api_key), it.wall, limits=GENEROUS, rng=Random(3)) as api:
        it.api = api
        await it.upload()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("before", "after"), JUMPS)
async def test_a_clock_that_is_set_makes_no_wait_longer(
    tmp_path: Path, before: float, after: float, restart: bool
) -> None:
    """After an outage that spans the setting, everything is stored minutes after the cloud is back, as without it."""
    async with hub(tmp_path) as it:
        it.wall.offset_s = before
        it.cloud.faults.add("*", Status(status=503), times=None)
        rows = [await it.capture(number) for number in (1, 2, 3)]
        async with it.running():
            for row in rows:
                while (await it.spool.recording(row.id)).attempts < 6:
                    await it.spool.wait_for_change(it.spool.revision)
            it.wall.offset_s = after
            it.cloud.faults.clear()
            began = asyncio.get_running_loop().time()
            if not restart:
                for row in rows:
                    while (await it.spool.recording(row.id)).state is not Custody.STORED:
                        await it.spool.wait_for_change(it.spool.revision)
        if restart:
            await upload_in_a_new_life(it)
        assert asyncio.get_running_loop().time() - began < 900
        await it.assert_stored_once()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("before", "after"), JUMPS)
async def test_a_lost_create_keeps_its_time_when_the_clock_is_set(
    tmp_path: Path, before: float, after: float, restart: bool
) -> None:
    """The create that may be under way still is waited for by the server's clock: no second one is made."""
    async with hub(tmp_path, idempotency=IdempotencyMode.NONE) as it:
        it.wall.offset_s = before
        it.cloud.faults.add(CREATE, LateCommit(delay_s=100))
        await it.capture()
        async with it.running():
            waiting = await it.waiting_for("upload_create_unknown")
        assert waiting.state is Custody.CAPTURED
        it.wall.offset_s = after
        await (upload_in_a_new_life(it) if restart else it.upload())
        await asyncio.sleep(100)  # of virtual time, in which the late create would come after a second one
        await it.assert_stored_once()


async def test_a_clock_that_was_ahead_hides_no_recording_of_a_busy_user(tmp_path: Path) -> None:
    """Hundreds of newer recordings stand between: the look-back goes to the intent by the server's clock."""
    async with hub(tmp_path, settings={"look_before_create": False}) as it:
        it.wall.offset_s = 365 * 86_400.0
        it.cloud.faults.add(CREATE, LostAfterCommit())
        row = await it.capture()
        async with it.running():
            await it.waiting_for("upload_create_unknown")
        it.wall.offset_s = 0.0
        (made,) = it.cloud.recordings.values()
        for number in range(300):
            newer = replace(
                made, id=f"rec_new{number}", created_at=made.created_at + 1 + number, facts={"metadata": {}}
            )
            it.cloud.recordings[newer.id] = newer
        await it.upload()
        assert (await it.spool.recording(row.id)).cloud_id == made.id
        assert it.cloud.counters.calls[CREATE] == 1
