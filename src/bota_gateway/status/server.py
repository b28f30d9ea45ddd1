"""The daemon's local API: a Unix socket, one JSON question a line, one JSON answer a line.

A question that follows something has one answer a line until the asker leaves. Whoever may open the socket may ask; it
belongs to the service's user and group and is closed to others.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bota_gateway.errors import GatewayError, StatusError

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LONGEST_QUESTION = 64 * 1024
"""Questions are short; more is a mistake, and must not fill memory."""
PATIENCE_S = 30.0
"""A client that asks nothing, or does not read its answer, is let go after this."""
SOCKET_MODE = 0o660

T = TypeVar("T")

Answer = Callable[[dict[str, Any]], Awaitable[object]]
"""Gives back the answer, or an async iterator of answers that goes on until the asker leaves."""


class StatusServer:
    """Answers questions on a Unix socket while ``run`` runs."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._socket = path
        self._answer = answer
        self.listening = asyncio.Event()
        """Set while questions are taken."""

    async def run(self) -> None:
        """Serve until cancelled; conversations under way end with it.

        Raises:
            StatusError: when the socket can't be made, or another daemon answers on it.
        """
        await self._clear_leftover()
        bound = self._bound()
        async with asyncio.TaskGroup() as conversations:

            def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if server.is_serving():
                    task = conversations.create_task(self._converse(reader, writer))
                    task.add_done_callback(lambda _: writer.close())  # also when it is cancelled before it begins
                else:
                    writer.close()  # it came in while the server closed

            server = await asyncio.start_unix_server(meet, sock=bound, limit=LONGEST_QUESTION, start_serving=False)
            await server.start_serving()
            self.listening.set()
            try:
                # Not serve_forever: from Python 3.12 on its end waits for clients to leave, as long as they like.
                await asyncio.get_running_loop().create_future()
            finally:
                server.close()
                self.listening.clear()
                self._socket.unlink(missing_ok=True)

    def _bound(self) -> socket.socket:
        """A bound socket that was closed to others from its first moment: the mask, not a later chmod, says so."""
        unbound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            unbound.bind(str(self._socket))
        except OSError as refused:
            unbound.close()
            raise StatusError(
                f"The status socket {self._socket} can't be made: {refused.strerror or refused}.",
                code="status_no_socket",
                remedy="Name a directory this user may write to in status.socket.",
            ) from None
        finally:
            os.umask(mask)
        return unbound

    async def _clear_leftover(self) -> None:
        try:
            _, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            with contextlib.suppress(OSError):
                self._socket.unlink(missing_ok=True)
            return
        writer.close()
        raise StatusError(
            f"Another gateway answers on {self._socket}.",
            code="status_socket_taken",
            remedy="Stop it first, or give this one its own status.socket.",
        )

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Too slow, too long or gone: nobody is left to tell.
        with contextlib.suppress(ValueError, OSError):
            while question := await _patiently(reader.readline()):
                answer = await self._reply(question)
                if isinstance(answer, AsyncIterator):
                    await self._tell_until_left(answer, reader, writer)
                    return
                await _tell(writer, answer)

    async def _tell_until_left(
        self, answers: AsyncIterator[object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def tell() -> None:
            with contextlib.suppress(OSError):
                async for answer in answers:
                    await _tell(writer, {"answer": answer})

        async def leave() -> None:
            with contextlib.suppress(OSError):
                await reader.read(1)  # a follower says nothing more, so this is its end

        async with asyncio.TaskGroup() as tasks:
            both = {tasks.create_task(tell()), tasks.create_task(leave())}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.cancel()

    async def _reply(self, question: bytes) -> dict[str, object] | AsyncIterator[object]:
        try:
            asked = dict(json.loads(question))
        except (ValueError, TypeError):
            return {"error": "status_bad_question", "message": "A question is a JSON object.", "remedy": "Ask again."}
        try:
            answer = await self._answer(asked)
        except GatewayError as said:
            return {"error": said.error_code, "message": said.message, "remedy": said.next_step}
        except Exception as failure:
            log.exception("status_question_failed")
            return {"error": "status_failed", "message": repr(failure), "remedy": "The daemon's log says more."}
        return answer if isinstance(answer, AsyncIterator) else {"answer": answer}


async def _patiently(work: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def _tell(writer: asyncio.StreamWriter, answer: object) -> None:
    writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    await _patiently(writer.drain())
