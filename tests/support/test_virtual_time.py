import asyncio
import time

import aiosqlite
import pytest

from support.virtual_time import STARTS_AT, VirtualTimeLoop, virtual_loop, virtual_time


@virtual_time
async def test_an_hour_passes_at_once() -> None:
    """A sleep of an hour costs no real time, and the loop's clock shows it exactly."""
    began = time.monotonic()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == pytest.approx(STARTS_AT + 3600)
    assert time.monotonic() - began < 5


@virtual_time
async def test_timers_fire_in_order() -> None:
    """Waits that overlap end in the order of their length."""
    order: list[int] = []

    async def wait(seconds: int) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    async with asyncio.TaskGroup() as tasks:
        for seconds in (30, 10, 20):
            tasks.create_task(wait(seconds))
    assert order == [10, 20, 30]


@virtual_time
async def test_a_thread_holds_the_clock() -> None:
    """A thread that takes real time does not run into a virtual time-out."""
    async with asyncio.timeout(0.001):
        await asyncio.to_thread(time.sleep, 0.05)


@virtual_time
async def test_the_database_holds_the_clock() -> None:
    """A statement that takes real time does not run into a virtual time-out."""
    async with aiosqlite.connect(":memory:") as database, asyncio.timeout(0.001):
        cursor = await database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT max(i) FROM n"
        )
        assert await cursor.fetchone() == (100_000,)


@virtual_time
async def test_a_socket_is_given_time() -> None:
    """An answer over a socket comes before a virtual time-out, and a server's virtual delay is kept."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await asyncio.sleep(10)
        writer.write(b"late\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(11):
            assert await reader.readline() == b"late\n"
        assert loop.time() - began == pytest.approx(10, abs=0.1)
        writer.close()


def test_a_wait_for_nothing_is_told() -> None:
    """A test that waits for what can never come fails at once instead of hanging."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, pytest.raises(RuntimeError, match="hang for ever"):
        runner.run(asyncio.Event().wait())


async def test_other_tests_keep_real_time() -> None:
    """Without the mark a test's loop has the real clock."""
    with pytest.raises(TypeError):
        virtual_loop()
