"""``bota-gateway tail`` against a real gateway: what it tells, as it happens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog

from support.commands import start_process
from support.world import Running, World

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway that has told two things about one recorder beside its own start."""
    async with World.open(tmp_path) as world, world.gateway() as started:
        log = structlog.get_logger()
        log.info("recorder_verified", recorder="BOTAPIN001", firmware="1.0.18", mtu=247, rssi=-60)
        log.warning("confirm_refused", recorder="BOTAPIN001", recording="0a0b0c0d", reason="not now")
        yield started


async def test_what_was_told_is_shown_as_the_log_shows_it(running: Running) -> None:
    """Time, mark, recorder, recording and words."""
    told = await running.ask("tail", "--no-follow")
    assert told.code == 0
    first = next(line for line in told.lines if "gateway 0" in line)
    assert re.match(r"\d\d-\d\d \d\d:\d\d:\d\d  ", first) or re.match(r"\d\d:\d\d:\d\d  ", first)
    refused = next(line for line in told.lines if "0a0b0c0d" in line)
    assert re.search(r"\d\d:\d\d:\d\d ! BOTAPIN001 0a0b0c0d  \S.*not now$", refused)


async def test_it_can_be_narrowed(running: Running) -> None:
    """By recorder, recording, level and number of lines."""
    for narrowed, count in [
        (("--recorder", "BOTAPIN001"), 2),
        (("--recorder", "001"), 2),
        (("--recording", "0a0b"), 1),
        (("--level", "warning"), 1),
        (("--recorder", "BOTAPIN001", "--lines", "1"), 1),
        (("--recorder", "NOBODY"), 0),
    ]:
        assert len((await running.ask("tail", "--no-follow", *narrowed)).lines) == count


async def test_json_is_one_object_a_line(running: Running) -> None:
    """For programs that read as it happens."""
    told = await running.ask("tail", "--no-follow", "--json", "--recorder", "BOTAPIN001")
    happenings = [json.loads(line) for line in told.lines]
    assert [one["event"] for one in happenings] == ["recorder_verified", "confirm_refused"]
    assert happenings[0]["fields"] == {"firmware": "1.0.18", "mtu": 247, "rssi": -60}


async def test_following_goes_on_until_the_gateway_stops(tmp_path: Path) -> None:
    """What happens later is told, too; at the end the person reads that the gateway stopped, and how to start it."""
    async with AsyncExitStack() as stack:
        async with World.open(tmp_path) as world, world.gateway() as running:
            following = stack.enter_context(start_process("tail", "--socket", running.socket, "--lines", "1"))
            assert following.stdout
            await asyncio.to_thread(following.stdout.readline)  # of before, so it follows now
            structlog.get_logger().info("recorder_verified", recorder="BOTAPIN001", firmware="9", mtu=23, rssi=-1)
            assert "BOTAPIN001" in await asyncio.to_thread(following.stdout.readline)
        _, said = await asyncio.to_thread(following.communicate)
    assert following.returncode == 1
    assert "has stopped" in said
    assert "systemctl start" in said
