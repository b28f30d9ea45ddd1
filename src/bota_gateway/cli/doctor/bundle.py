"""The support archive: what someone far away needs to help, and nothing that is a secret.

Each text passes one gate (`Gate`) on its way in, whatever it is and wherever it came from.
"""

import asyncio
import io
import os
import platform
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, Final

from bota_gateway.cli.doctor import view
from bota_gateway.cli.doctor.cases import Finding
from bota_gateway.cli.doctor.facts import Facts, in_thread
from bota_gateway.config import ENV_PREFIX
from bota_gateway.errors import GatewayError, StatusError
from bota_gateway.model import Custody
from bota_gateway.spool import disk
from bota_gateway.status.redact import REDACTED, redact, without_queries
from bota_gateway.status.words import json_text, size

LOG_LINES: Final = 5_000
"""Of the journal: some days of a quiet hub, an hour of one in trouble."""
LOG_BYTES: Final = 4 << 20
"""Its newest part, if it is longer."""
TIMELINES: Final = 200
"""Of unfinished recordings, the newest: more of them say the same."""
COLLECT_S: Final = 60.0
"""For everything that is asked of the gateway; what came by then is in."""
PROGRAM_S: Final = 20.0
"""journalctl on a slow card."""
SHORTEST_SECRET: Final = 6
"""What stands where the key should is cut out wherever it occurs, unless it is so short that it would cut words."""

_DIRECTORY: Final = "bota-gateway-doctor"
_FINISHED: Final = {Custody.CONFIRMED.value, Custody.FORGOTTEN.value}
_OF_SYSTEM: Final = ("etc/os-release", "proc/device-tree/model", "proc/uptime", "proc/loadavg", "proc/meminfo")

_PROMISE: Final = """\
Not in this archive: the API key, device and upload tokens, presigned URLs (each URL is cut at its query), audio.
In it: serials and addresses of recorders, ids and times of recordings, and, in its log, the name of the hub.
"""


@dataclass(frozen=True)
class Gate:
    """Lets texts through without what must not leave the hub."""

    secrets: Sequence[str]
    """Known here, in whatever shape."""

    @classmethod
    async def of(cls, facts: Facts) -> "Gate":
        """With everything that stands where the key may stand, be it a key or not."""
        return cls(sorted(await in_thread(lambda: set(_secrets(facts))), key=len, reverse=True))

    def let(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, REDACTED)
        return redact(without_queries(text))

    def let_all(self, value: Any) -> Any:
        """The same for every text in a value that becomes JSON; before it does, so that it stays JSON."""
        match value:
            case str():
                return self.let(value)
            case dict():
                return {self.let(str(key)): self.let_all(item) for key, item in value.items()}
            case list() | tuple():
                return [self.let_all(item) for item in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return self.let(str(value))


async def collect(facts: Facts, findings: Sequence[Finding]) -> dict[str, str]:
    """What goes into the archive: name to text, all of it past the gate, with a list of contents first."""
    found: dict[str, Any] = {
        "doctor.json": view.as_json(findings),
        "version.txt": _versions(),
        "settings.json": facts.settings.model_dump(mode="json") if facts.settings else None,
        "system.txt": await in_thread(lambda: _system(facts)),
        "log.txt": await in_thread(_journal),
    }
    with suppress(TimeoutError):
        async with asyncio.timeout(COLLECT_S):
            await _ask(facts, found)
    gate = await Gate.of(facts)
    texts = {
        name: gate.let(value) if name.endswith(".txt") else json_text(gate.let_all(value), indent=1) + "\n"
        for name, value in found.items()
    }
    return {"contents.txt": _contents(texts), **texts}


def write(path: Path, texts: Mapping[str, str], at: float) -> None:
    """Write the archive, readable by its owner alone.

    Raises:
        GatewayError: ``bundle_exists``; ``bundle_failed``, and then nothing stays.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise GatewayError(
            f"{path} is there already, and is not overwritten.",
            code="bundle_exists",
            remedy="Name another file: --bundle FILE",
        ) from None
    except OSError as error:
        raise _failed(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in texts.items():
                data = text.encode("utf-8", "replace")
                member = tarfile.TarInfo(f"{_DIRECTORY}/{name}")
                member.size, member.mode, member.mtime = len(data), 0o600, int(at)
                archive.addfile(member, io.BytesIO(data))
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _failed(path, error) from error
        raise


async def _ask(facts: Facts, found: dict[str, Any]) -> None:
    """Everything that a running gateway tells; where none answers, that."""
    for question in ("status", "recorders", "recordings", "happenings"):
        try:
            found[f"{question}.json"] = await facts.ask(question)
        except StatusError as error:
            found[f"{question}.json"] = {"error": error.error_code, "message": error.message}
    recordings = found["recordings.json"]
    if not isinstance(recordings, list):
        return
    timelines = found["timelines.json"] = []
    for one in [one for one in recordings if one["state"] not in _FINISHED][:TIMELINES]:
        name = f"{one['serial']}/{one['file_id']}/{one['started_at']}"
        with suppress(StatusError):
            timelines.append(await facts.ask("timeline", recording=name))


def _contents(texts: Mapping[str, str]) -> str:
    lines = [f"{size(len(text.encode())):>8}  {name}" for name, text in texts.items()]
    return "\n".join([_PROMISE, *lines]) + "\n"


def _secrets(facts: Facts) -> Iterable[str]:
    found = [facts.hub.environ.get(f"{ENV_PREFIX}CLOUD__API_KEY", "")]
    files = [facts.hub.installed_key]
    if facts.settings is not None:
        if facts.settings.cloud.api_key is not None:
            found.append(facts.settings.cloud.api_key.get_secret_value())
        if facts.settings.cloud.api_key_file is not None:
            files.append(facts.settings.cloud.api_key_file)
    for file in files:
        with suppress(OSError):
            found.append(file.read_text("utf-8", "replace"))
    return (secret.strip() for secret in found if len(secret.strip()) >= SHORTEST_SECRET)


def _versions() -> str:
    names = {"bota-gateway": version("bota-gateway"), "python": platform.python_version()}
    for line in requires("bota-gateway") or ():
        if "extra ==" not in line:
            name = line.split(";")[0].split("<")[0].split(">")[0].split("=")[0].strip()
            with suppress(ModuleNotFoundError):
                names[name] = version(name)
    return "".join(f"{name} {number}\n" for name, number in names.items())


def _system(facts: Facts) -> str:
    lines = [f"{platform.system()} {platform.release()} {platform.version()} {platform.machine()}"]
    lines.append(f"uid {os.getuid()}, euid {os.geteuid()}, cpus {os.cpu_count()}")
    if facts.settings is not None:
        with suppress(OSError):
            room = disk.room(facts.settings.spool.directory)
            lines.append(f"spool: {room.file_bytes} bytes, {room.free_bytes} free of {room.total_bytes}")
    for name in _OF_SYSTEM:
        with suppress(OSError):
            text = Path("/", name).read_text("utf-8", "replace").strip("\0\n")
            lines += ["", f"/{name}", *text.splitlines()[:40]]
    return "\n".join(lines) + "\n"


def _journal() -> str:
    command = ["journalctl", "--unit=bota-gateway", f"--lines={LOG_LINES}", "--no-pager", "--output=short-iso"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROGRAM_S, check=False)  # noqa: S603 - no input in it
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"The journal could not be read: {error}\n"
    text = (done.stdout[-LOG_BYTES:] + done.stderr[-LOG_BYTES:]).decode("utf-8", "replace")
    return text or "The journal has nothing of the gateway, or is closed to this user.\n"


def _failed(path: Path, error: OSError) -> GatewayError:
    return GatewayError(
        f"{path} can't be written: {error.strerror or error}.",
        code="bundle_failed",
        remedy="Name a file in a directory that you may write to: --bundle FILE",
    )
