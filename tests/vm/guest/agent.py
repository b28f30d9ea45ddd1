"""Runs in the guest: does what the host asks, one JSON object a line each way, several at a time.

Questions: ``{"id": 1, "run": "shell command"}``, or ``{"id": 2, "ask": {...}, "socket": PATH}`` for a question to the
gateway's status socket. Answers: ``{"id": 1, "code": 0, "out": "..."}`` or ``{"id": 2, "answer": {...}}``. The first
line is ``{"boot": ID}``.
"""

import json
import os
import socket
import subprocess
import threading
import time
from typing import Any

PORT = "/dev/virtio-ports/agent"
SOCKET_PATIENCE_S = 60


def run(command: str) -> "dict[str, Any]":
    """Run a shell command."""
    done = subprocess.run(  # noqa: S602 - that is its job
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return {"code": done.returncode, "out": done.stdout.decode(errors="replace")}


def ask(question: "dict[str, Any]", path: str) -> "dict[str, Any]":
    """Ask the gateway."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(SOCKET_PATIENCE_S)
            line.connect(path)
            line.sendall(json.dumps(question).encode() + b"\n")
            with line.makefile("rb") as reader:
                return {"answer": json.loads(reader.readline() or b"null")}
    except (OSError, ValueError) as failed:
        return {"answer": None, "why": str(failed)}


def main() -> None:
    """Serve until the machine stops."""
    while not os.path.exists(PORT):  # noqa: PTH110 - pathlib costs a tenth of a second here
        time.sleep(0.1)
    with open(PORT, "r+b", buffering=0) as port:  # noqa: PTH123 - as above
        turn = threading.Lock()

        def say(what: "dict[str, Any]") -> None:
            line = json.dumps(what).encode() + b"\n"
            with turn:
                while line:
                    line = line[port.write(line) :]

        def do(question: "dict[str, Any]") -> None:
            done = run(question["run"]) if "run" in question else ask(question["ask"], question["socket"])
            say({"id": question["id"], **done})

        with open("/proc/sys/kernel/random/boot_id") as boot_id:  # noqa: PTH123 - as above
            say({"boot": boot_id.read().strip()})
        waiting = b""
        while True:
            data = port.read(65536)
            if not data:
                time.sleep(0.1)  # nobody is at the other end
                continue
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                threading.Thread(target=do, args=(json.loads(line),), daemon=True).start()


main()
