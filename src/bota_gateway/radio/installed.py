"""What of BlueZ is installed here, and whether a user of this machine may talk to it."""

import asyncio
import os
import pwd
import re
import sys
from typing import Any, Final

from bota_gateway.errors import AdapterError
from bota_gateway.radio.adapters import ask_bluez

OLDEST_BLUEZ: Final = (5, 55)
"""bleak needs it."""
OLDEST_TESTED_BLUEZ: Final = (5, 66)
"""Debian 12's, the oldest that this gateway was tried on."""
DESCRIPTORS_CRASH: Final = (5, 66)
"""bluetoothd of this version crashed with notifications by descriptor (docs/design-notes.md, "Notification mode")."""

PROGRAM_S: Final = 20.0
"""For a program that only prints something. A Raspberry Pi takes seconds to start a Python that imports bleak, and
several times that when it is busy."""

NOT_RUN: Final = "radio_not_tried"
"""Code of an error that says nothing of BlueZ: the process that was to ask it could not be run, or not in time."""

_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


async def bluez_version() -> tuple[int, int] | None:
    """Version of the installed BlueZ, as its own tool says it: over D-Bus bluetoothd tells none.

    None where that tool is missing, hangs, or says something else.
    """
    found = _VERSION.search(await _output("bluetoothctl", "--version"))
    return (int(found[1]), int(found[2])) if found else None


async def try_bluez_as(user: pwd.struct_passwd) -> AdapterError | None:
    """Have a process of this user ask BlueZ; gives back what was in its way. Only root can do that for others."""
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}
    told = await _output(sys.executable, "-I", "-m", __name__, **as_user)
    code, _, message = told.strip().partition(" ")
    if not code:
        return AdapterError(f"A process of {user.pw_name} did not get to ask BlueZ.", code=NOT_RUN)
    return None if code == "ok" else AdapterError(message, code=code)


async def _output(*command: str, **more: Any) -> str:
    """What a program prints; nothing when there is none, and what it printed so far when it hangs."""
    pipe = asyncio.subprocess.PIPE
    nothing = asyncio.subprocess.DEVNULL
    try:
        running = await asyncio.create_subprocess_exec(
            *command, stdin=nothing, stdout=pipe, stderr=nothing, cwd="/", **more
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(PROGRAM_S):
            out, _ = await running.communicate()
            return out.decode("utf-8", "replace")
    except TimeoutError:
        return ""
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def _ask() -> str:
    try:
        await ask_bluez()
    except AdapterError as error:
        return f"{error.error_code} {error.message}"
    return "ok"


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(_ask()) + "\n")
