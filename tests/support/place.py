"""A place with a cloud, recorders and a hub, each a process of its own, as on a technician's desk.

async with Place.open(tmp_path, {"PIN0000001": [data]}) as place, place.gateway() as hub:
    await hub.event("recording_deletion_seen", times=1)
"""

import asyncio
import hashlib
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bota_gateway.errors import StatusError
from bota_gateway.model import Custody
from bota_gateway.status import client
from support.processes import PATIENCE_S, Program, free_port, program
from support.spooling import noise

SERIAL = "PIN0000001"
"""Of the first recorder."""
PYTHONPATH = {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
}
"""With which a process finds the modules of the tests."""
EAGER_CALLS = "requests_per_minute = 60000\nupload_urls_per_minute = 60000\n"
EAGER_VISITS = "interval_s = 2\nshortest_s = 1\nlongest_s = 2\n"
"""Settings of a hub that never waits for the time of a call or a visit."""
POLL_S = 0.05
"""Between two questions to another process, which can't tell by itself that something changed."""


def audio(number: int, size: int) -> bytes:
    """Bytes that begin as an Ogg file does."""
    return b"OggS" + noise(size - 4, number)


def _serial(number: int) -> str:
    return f"{SERIAL[:-1]}{int(SERIAL[-1]) + number}"


def _simulator(spool: Path, control: str = "-") -> Callable[..., AbstractAsyncContextManager[Program]]:
    """Runs ``bota-gateway sim`` with witnesses."""
    watched = (sys.executable, "-m", "support.watched_sim", spool, control)
    return partial(program, command=watched, env=PYTHONPATH)


@dataclass
class Place:
    """What runs around the hub, and the hub's directory."""

    directory: Path
    cloud: Program
    recorder: Program
    where: dict[str, str]
    """What ``sim cloud`` says of itself."""
    config: Path
    held: Sequence[bytes]
    """What the recorder holds at first."""
    _recorder_command: Sequence[str | Path]

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        held: Sequence[bytes],
        *,
        kilobytes_per_s: float = 1000,
        made: Sequence[int] = (),
        recorders: int = 1,
        watched: bool = False,
    ) -> AsyncIterator["Place"]:
        """Put up the cloud, and recorders.

        Args:
            directory: For everything.
            held: What each recorder holds.
            kilobytes_per_s: The pace of a link.
            made: Lengths of made-up recordings that each recorder holds, too.
            recorders: How many; their serials follow the first one's.
            watched: They and the cloud say what the judge wants to know (``watched_sim``), and the hub keeps no pace:
                what would be waiting for limits and intervals is work.
        """
        hub = directory / "hub"
        hub.mkdir()
        port = free_port()
        command: list[str | Path] = ["sim", "recorder", "--transport", f"virtual:tcp-server:127.0.0.1:{port}"]
        command += ["--serial", SERIAL, "--recorders", str(recorders), "--rate", str(kilobytes_per_s)]
        for number, data in enumerate(held):
            path = directory / f"recording-{number}"
            path.write_bytes(data)
            command += ["--recording", path]
        for size in made:
            command += ["--bytes", str(size)]
        simulator = _simulator(hub / "spool") if watched else program
        members = [word for number in range(recorders) for word in ("--register", _serial(number))]
        async with simulator("sim", "cloud", "--json", "--directory", directory / "cloud", *members) as cloud:
            where = json.loads(await cloud.line('"control"'))
            simulator = _simulator(hub / "spool", where["control"]) if watched else program
            async with simulator(*command) as recorder:
                await recorder.line("on the air")
                config = directory / "config.toml"
                config.write_text(
                    f"[cloud]\napi_base = '{where['api_base']}'\ns3_hosts = ['{where['s3_host']}']\nshare = 1.0\n"
                    f"{EAGER_CALLS if watched else ''}"
                    f"[spool]\ndirectory = '{hub}/spool'\nmin_free_bytes = 0\n"
                    f"[radio]\nadapters = ['bumble:tcp-client:127.0.0.1:{port}']\n"
                    f"[status]\nsocket = '{hub}/status.sock'\n[log]\nformat = 'json'\nlevel = 'debug'\n"
                    f"[visits]\n{EAGER_VISITS if watched else ''}"
                )
                yield cls(directory, cloud, recorder, where, config, held, command)

    @property
    def socket(self) -> Path:
        """Where the hub's gateway answers."""
        return self.directory / "hub" / "status.sock"

    def another_recorder(self) -> AbstractAsyncContextManager[Program]:
        """The same recorder with the same recordings once more, in the place of one that has ended."""
        return program(*self._recorder_command)

    def gateway(self, *, later: bool = False) -> AbstractAsyncContextManager[Program]:
        """The hub's gateway, started; ``later`` by the hub's clock, when waits are over (``later.py``)."""
        env = {"BOTA_GATEWAY_CLOUD__API_KEY": self.where["api_key"]}
        if not later:
            return program("run", "--config", self.config, env=env)
        command = (sys.executable, "-m", "support.later")
        return program("run", "--config", self.config, command=command, env=env | PYTHONPATH)

    async def ask(self, question: str, **arguments: object) -> Any:
        """What the gateway answers on its socket."""
        return await asyncio.to_thread(client.ask, self.socket, question, **arguments)

    async def until(self, condition: Callable[[Any], bool], question: str, **arguments: object) -> Any:
        """The first answer for which ``condition`` holds; a gateway that is not up yet is waited for.

        Raises:
            TimeoutError: none came within a minute.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(StatusError):
                    answer = await self.ask(question, **arguments)
                    if condition(answer):
                        return answer
                await asyncio.sleep(POLL_S)

    async def received(self, at_least: int) -> None:
        """Wait until so many bytes of a transfer under way have arrived."""
        await self.until(lambda now: any(link["received_bytes"] >= at_least for link in now["links"]), "status")

    async def all_confirmed(self) -> None:
        """Wait until everything that the recorder held was deleted there."""
        done = [Custody.CONFIRMED] * len(self.held)
        await self.until(lambda rows: [one["state"] for one in rows] == done, "recordings")

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """Steer the cloud, or ask it: see ``bota_gateway.sim.cloud.control``."""
        request = urllib.request.Request(  # noqa: S310 - loopback, as it said
            self.where["control"] + path, method=method, data=None if body is None else json.dumps(body).encode()
        )

        def call() -> Any:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
                return json.loads(answer.read() or b"null")

        return await asyncio.to_thread(call)

    async def assert_stored_once(self) -> None:
        """The bucket holds each recording once, bit-identical, and the cloud knows of no other."""
        state = await self.control("GET", "/state")
        assert len(state["recordings"]) == len(self.held)
        stored = sorted(one["sha256"] for one in state["objects"])
        assert stored == sorted(hashlib.sha256(data).hexdigest() for data in self.held)
        assert state["orphans"] == []
