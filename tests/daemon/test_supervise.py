import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from bota_gateway.backoff import Backoff
from bota_gateway.daemon import supervise
from bota_gateway.daemon.supervise import Down, keep_running
from bota_gateway.errors import AdapterError, SpoolCorruptError


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "RESTART", Backoff(0.001, 0.002))


@pytest.mark.virtual_time
async def test_a_part_that_crashes_is_reported_and_started_again() -> None:
    """A crash of one part is seen, restarted and told with code and remedy; it is down until it has proved itself."""
    failing: dict[str, Down] = {}
    settled = asyncio.Event()
    lives = 0

    async def part() -> None:
        nonlocal lives
        lives += 1
        if lives < 3:
            raise AdapterError("hci0 is gone.")
        settled.set()
        await asyncio.Event().wait()

    with capture_logs() as told:
        task = asyncio.create_task(keep_running("radio", part, failing))
        await settled.wait()
        assert list(failing) == ["radio"]
        await asyncio.sleep(supervise.PROVEN_S + 1)
        assert not failing
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert lives == 3
    failures = [one for one in told if one["event"] == "part_failed"]
    assert [one["code"] for one in failures] == ["radio_no_adapter"] * 2
    assert all(one["remedy"] for one in failures)


async def test_what_failed_is_known_while_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status can say which part is down, why, and when it is tried again."""
    monkeypatch.setattr(supervise, "RESTART", Backoff(3600.0, 3600.0))
    failing: dict[str, Down] = {}
    down = asyncio.Event()

    def note(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        down.set()
        raise structlog.DropEvent

    async def part() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_fail())

    async def _fail() -> None:
        raise ZeroDivisionError("a bug")

    before = structlog.get_config()
    structlog.configure(processors=[note])
    try:
        task = asyncio.create_task(keep_running("uploader", part, failing))
        await down.wait()
    finally:
        structlog.configure(**before)
    assert "ZeroDivisionError" in failing["uploader"].error.message
    assert 3500 < failing["uploader"].again_at - asyncio.get_running_loop().time() <= 3600
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_damaged_spool_is_not_restarted_away() -> None:
    """When the spool is damaged nothing may go on as if it were not: only a new start sets it aside."""

    async def part() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_fail())

    async def _fail() -> None:
        raise SpoolCorruptError("database disk image is malformed")

    with pytest.raises(SpoolCorruptError):
        await keep_running("uploader", part, {})


async def test_a_part_that_is_stopped_stays_stopped() -> None:
    """Cancelling is the one way to end a part."""
    started = asyncio.Event()

    async def part() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_running("radio", part, {}))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_part_that_is_cancelled_from_within_is_started_again() -> None:
    """A stray cancellation, as a library's defect may raise, ends no part for good: nobody had asked for it."""
    failing: dict[str, Down] = {}
    again = asyncio.Event()
    lives = 0

    async def part() -> None:
        nonlocal lives
        lives += 1
        if lives == 1:
            raise asyncio.CancelledError
        again.set()
        await asyncio.Event().wait()

    with capture_logs() as told:
        task = asyncio.create_task(keep_running("uploader", part, failing))
        await again.wait()
    assert [one["event"] for one in told] == ["part_failed", "part_restarted"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
