import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.errors import StatusError
from bota_gateway.status import client
from bota_gateway.status.server import LONGEST_QUESTION, PATIENCE_S, StatusServer


async def echo(asked: dict[str, Any]) -> object:
    if asked["ask"] == "refuse":
        raise StatusError("No such thing.", code="status_no_such_recording", remedy="Look.")
    if asked["ask"] == "crash":
        raise RuntimeError("bug")
    return asked


@asynccontextmanager
async def serving(
    path: Path, answer: Callable[[dict[str, Any]], Awaitable[object]] = echo
) -> AsyncIterator[StatusServer]:
    server = StatusServer(path, answer)
    task = asyncio.create_task(server.run())
    await server.listening.wait()
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_question_gets_its_answer(tmp_path: Path) -> None:
    """The command line's client and the daemon's server understand each other over a real socket."""
    async with serving(tmp_path / "s"):
        answer = await asyncio.to_thread(client.ask, tmp_path / "s", "recordings", state="parked")
    assert answer == {"ask": "recordings", "state": "parked"}


async def test_an_error_of_the_daemon_reaches_the_person_with_its_remedy(tmp_path: Path) -> None:
    """Code, sentence and next step survive the socket."""
    async with serving(tmp_path / "s"):
        with pytest.raises(StatusError) as refused:
            await asyncio.to_thread(client.ask, tmp_path / "s", "refuse")
    assert (refused.value.error_code, refused.value.next_step) == ("status_no_such_recording", "Look.")


async def test_a_gateway_of_another_version_is_named_as_such(tmp_path: Path) -> None:
    """It runs until it is restarted: what its answers lack is no crash of the command."""
    async with serving(tmp_path / "s"):
        answer = await asyncio.to_thread(client.ask, tmp_path / "s", "status")
    with pytest.raises(StatusError, match="another version") as lacking:
        answer["held"]
    assert lacking.value.error_code == "status_other_version"


async def test_a_question_that_crashes_does_not_end_the_server(tmp_path: Path) -> None:
    """One bad question never stops the next one."""
    async with serving(tmp_path / "s"):
        with pytest.raises(StatusError):
            await asyncio.to_thread(client.ask, tmp_path / "s", "crash")
        assert await asyncio.to_thread(client.ask, tmp_path / "s", "fine") == {"ask": "fine"}


@pytest.mark.parametrize("rubbish", [b"no json\n", b"[1, 2]\n", b"\xff\xfe\n", b"7\n"])
async def test_rubbish_gets_a_clear_answer(tmp_path: Path, rubbish: bytes) -> None:
    """Whatever is written to the socket, the reply is JSON with a code."""
    async with serving(tmp_path / "s"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(rubbish)
        reply = json.loads(await reader.readline())
        writer.close()
    assert reply["error"] == "status_bad_question"


async def test_an_endless_question_is_cut_off(tmp_path: Path) -> None:
    """A client can't fill the daemon's memory."""
    async with serving(tmp_path / "s"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"x" * (LONGEST_QUESTION * 3))
        assert await reader.read() == b""
        writer.close()


async def test_a_leftover_socket_of_a_killed_daemon_is_cleared(tmp_path: Path) -> None:
    """After a SIGKILL the socket file is still there; the next start takes its place."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with serving(path):
        assert await asyncio.to_thread(client.ask, path, "fine") == {"ask": "fine"}


async def test_a_second_daemon_does_not_take_the_socket_of_the_first(tmp_path: Path) -> None:
    """Two daemons on one socket would answer in turns."""
    async with serving(tmp_path / "s"):
        with pytest.raises(StatusError) as refused:
            await StatusServer(tmp_path / "s", echo).run()
    assert refused.value.error_code == "status_socket_taken"


async def test_others_may_not_ask(tmp_path: Path) -> None:
    """The socket is open to its user and group alone."""
    async with serving(tmp_path / "s"):
        assert (tmp_path / "s").stat().st_mode & 0o007 == 0


async def test_a_socket_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    """A missing directory is named with what to do."""
    with pytest.raises(StatusError) as refused:
        await StatusServer(tmp_path / "missing" / "s", echo).run()
    assert refused.value.error_code == "status_no_socket"


def test_no_daemon_is_said_with_how_to_start_it(tmp_path: Path) -> None:
    """Asking without a daemon names the socket and the command that starts one."""
    with pytest.raises(StatusError) as refused:
        client.ask(tmp_path / "s", "status")
    assert refused.value.error_code == "status_no_daemon"
    assert "systemctl start" in refused.value.next_step


def test_a_daemon_that_hangs_is_not_taken_for_one_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To start it would change nothing: what is said is who restarts it, and how to do that by hand."""
    monkeypatch.setattr(client, "PATIENCE_S", 0.01)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen()
        with pytest.raises(StatusError) as refused:
            client.ask(tmp_path / "s", "status")
    assert refused.value.error_code == "status_silent"
    assert "systemctl restart" in refused.value.next_step


async def test_a_client_that_stays_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """Its conversation ends with the server, at once, and no task is left behind."""
    before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S / 3):
        async with serving(tmp_path / "s"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(b'{"ask": "fine"}\n')
            assert await reader.readline()
        assert asyncio.all_tasks() <= before
        assert await reader.read() == b""
    writer.close()


class Counting:
    """Three answers, then nothing new for ever."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def answer(self, asked: dict[str, Any]) -> object:
        """As `echo`, and one more question."""
        return self._numbers() if asked["ask"] == "count" else await echo(asked)

    async def _numbers(self) -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def test_a_follower_is_told_until_it_leaves(tmp_path: Path) -> None:
    """One answer a line; when the asker goes, what told it ends, though nothing new ever happens."""
    counting = Counting()

    def follow() -> list[int]:
        return list(itertools.islice(client.follow(tmp_path / "s", "count"), 3))

    async with serving(tmp_path / "s", counting.answer), asyncio.timeout(PATIENCE_S):
        assert await asyncio.to_thread(follow) == [0, 1, 2]
        await counting.ended.wait()
        assert await asyncio.to_thread(client.ask, tmp_path / "s", "fine") == {"ask": "fine"}


async def test_a_follower_does_not_hold_up_a_stop_and_is_told_of_it(tmp_path: Path) -> None:
    """The stream ends with the daemon, without a task left over; the person reads that it stopped."""
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()

    def follow() -> None:
        for number in client.follow(tmp_path / "s", "count"):
            if number == 2:
                loop.call_soon_threadsafe(seen.set)

    async with asyncio.timeout(PATIENCE_S):
        async with serving(tmp_path / "s", Counting().answer):
            following = asyncio.create_task(asyncio.to_thread(follow))
            await seen.wait()
        with pytest.raises(StatusError, match="has stopped"):
            await following
    assert asyncio.all_tasks() <= before


async def test_a_follower_that_is_refused_is_told_why(tmp_path: Path) -> None:
    """A question with nothing to follow answers like any other."""
    async with serving(tmp_path / "s"):
        with pytest.raises(StatusError, match="No such thing"):
            await asyncio.to_thread(lambda: next(client.follow(tmp_path / "s", "refuse")))
