"""Asks the running daemon, for the command line."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bota_gateway.errors import StatusError

PATIENCE_S = 10.0
"""The daemon answers from its spool in milliseconds; longer means that it hangs."""


class _Answer(dict[str, Any]):
    """What it lacks the gateway never told: while a new version is installed, the old one may still run."""

    def __missing__(self, key: str) -> Any:
        raise StatusError(
            f"The gateway that runs is of another version than this command: it does not tell {key}.",
            code="status_other_version",
            remedy="Restart it: sudo systemctl restart bota-gateway",
        )


def ask(path: Path, question: str, **arguments: object) -> Any:
    """Ask one question and give back the answer.

    Raises:
        StatusError: when no daemon answers, or it refuses; carries the daemon's own code and remedy.
    """
    with _asked(path, question, arguments, PATIENCE_S) as reader, _explained(path):
        return _answer_in(reader.readline(), path)


def follow(path: Path, question: str, **arguments: object) -> Iterator[Any]:
    """Ask, and give back one answer after the other for as long as the daemon tells them.

    Raises:
        StatusError: as `ask`; and in the end, when the daemon stops.
    """
    with _asked(path, question, arguments, patience_s=None) as reader:
        while True:
            with _explained(path):
                line = reader.readline()
            if not line:
                raise StatusError(f"The gateway on {path} has stopped.")
            yield _answer_in(line, path)


@contextmanager
def _asked(path: Path, question: str, arguments: Mapping[str, object], patience_s: float | None) -> Iterator[IO[bytes]]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE_S)
        with _explained(path):
            line.connect(str(path))
            line.sendall(json.dumps({"ask": question, **arguments}).encode() + b"\n")
        line.settimeout(patience_s)
        with line.makefile("rb") as reader:
            yield reader


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise StatusError(
            f"You may not ask the gateway on {path}.",
            code="status_forbidden",
            remedy="Use sudo, or join the group bota-gateway: sudo adduser $USER bota-gateway",
        ) from None
    except TimeoutError:
        raise StatusError(
            f"The gateway on {path} does not answer.",
            code="status_silent",
            remedy="Wait two minutes: systemd restarts one that hangs. Else: sudo systemctl restart bota-gateway",
        ) from None
    except OSError as failed:
        raise StatusError(f"No gateway answers on {path}: {failed.strerror or failed}.") from None


def _answer_in(line: bytes, path: Path) -> Any:
    try:
        reply = json.loads(line, object_hook=_Answer)
    except ValueError:
        reply = None
    if not isinstance(reply, dict) or ("answer" not in reply and "error" not in reply):
        raise StatusError(f"What answers on {path} is no gateway.")
    if "error" in reply:
        raise StatusError(str(reply["message"]), code=str(reply["error"]), remedy=str(reply.get("remedy", "")))
    return reply["answer"]
