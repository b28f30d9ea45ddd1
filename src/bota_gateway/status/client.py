"""Asks the running daemon, for the command line."""

import json
import socket
from pathlib import Path
from typing import Any

from bota_gateway.errors import StatusError

PATIENCE_S = 10.0
"""The daemon answers from its spool in milliseconds; longer means that it hangs."""


def ask(path: Path, question: str, **arguments: object) -> Any:
    """Ask one question and give back the answer.

    Raises:
        StatusError: when no daemon answers, or it refuses; carries the daemon's own code and remedy.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE_S)
        try:
            line.connect(str(path))
            line.sendall(json.dumps({"ask": question, **arguments}).encode() + b"\n")
            with line.makefile("rb") as reader:
                reply = json.loads(reader.readline() or b"null")
        except PermissionError:
            raise StatusError(
                f"You may not ask the gateway on {path}.",
                code="status_forbidden",
                remedy="Use sudo, or join the group bota-gateway: sudo adduser $USER bota-gateway",
            ) from None
        except (OSError, ValueError) as failed:
            reason = failed.strerror if isinstance(failed, OSError) and failed.strerror else str(failed)
            raise StatusError(f"No gateway answers on {path}: {reason}.") from None
    if not isinstance(reply, dict) or ("answer" not in reply and "error" not in reply):
        raise StatusError(f"What answers on {path} is no gateway.")
    if "error" in reply:
        raise StatusError(str(reply["message"]), code=str(reply["error"]), remedy=str(reply.get("remedy", "")))
    return reply["answer"]
