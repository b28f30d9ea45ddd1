"""The doctor's checks on a hub made for them: files laid out like the kernel's, a daemon that says what it is told."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bota_gateway.cli.doctor.cases import Check, Finding
from bota_gateway.cli.doctor.examination import CHECKS, examine
from bota_gateway.cli.doctor.facts import Facts, Hub
from bota_gateway.config import Settings
from bota_gateway.errors import ConfigError, StatusError
from bota_gateway.status.server import StatusServer
from support.hub_files import SysTree

KEY = "sk_test_plantedkey0123456789"
FINE: dict[str, Any] = {
    "health": "ok",
    "summary": "0 linked, 0 receiving, 0 waiting, cloud ok",
    "problems": [],
    "pauses": [],
    "spool": {"used_bytes": 1_000_000, "quota_bytes": 8_000_000_000, "disk_free_bytes": 10_000_000_000},
}
"""A status without trouble."""


@dataclass
class Patient:
    """A hub to look at, and how the doctor is asked."""

    place: Path
    hub: Hub
    sys: SysTree
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: ConfigError | None = None
    """In place of a configuration that can be used."""
    scan: bool = False

    @property
    def spool(self) -> Path:
        """The spool's directory."""
        return self.place / "spool"

    @property
    def socket(self) -> Path:
        """The daemon's."""
        return self.place / "status.sock"

    def settings(self) -> Settings:
        """What is configured; nothing leads off this machine."""
        base: dict[str, dict[str, Any]] = {
            "cloud": {"api_base": "http://127.0.0.1:1/v1"},
            "spool": {"directory": self.spool},
            "status": {"socket": self.socket},
        }
        names = {*base, *self.sections}
        return Settings.model_validate({name: {**base.get(name, {}), **self.sections.get(name, {})} for name in names})

    def change(self, **hub: Any) -> None:
        """Another machine."""
        self.hub = replace(self.hub, **hub)

    async def look(self, *checks: type[Check]) -> list[Finding]:
        """Make the checks, all of them if none is named."""
        async with Facts(self.error or self.settings(), self.hub, socket=self.socket, scan=self.scan) as facts:
            return await examine(facts, checks or CHECKS)

    async def codes(self, *checks: type[Check]) -> list[str]:
        """Codes of what they find."""
        return [finding.code for finding in await self.look(*checks)]


def patient(directory: Path) -> Patient:
    """A hub that nothing is wrong with: no gateway runs, its spool is not there yet."""
    place = directory / "hub"
    place.mkdir()
    hub = Hub(
        sys_root=directory / "sys",
        environ={"BOTA_GATEWAY_CLOUD__API_KEY": KEY},
        installed_key=place / "api-key",
        service_user="nobody",
        clock_is_trusted=lambda: True,
    )
    made = Patient(place, hub, SysTree(directory / "sys", place))
    made.sections["cloud"] = {"api_key": KEY}
    return made


@asynccontextmanager
async def answering(socket: Path, answers: Mapping[str, Any] | None = None, **status: Any) -> AsyncIterator[None]:
    """A daemon that answers what it is told; its status is `FINE` but for ``status``."""
    told = {"status": FINE | status, "recorders": [], "recordings": []} | dict(answers or {})

    async def answer(asked: dict[str, Any]) -> object:
        if asked["ask"] not in told:
            raise StatusError("no such question", code="status_bad_question")
        return told[asked["ask"]]

    server = StatusServer(socket, answer)
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def problem(part: str, code: str, message: str = "it is so", remedy: str = "mend it") -> dict[str, Any]:
    """One of a status."""
    return {"part": part, "code": code, "message": message, "remedy": remedy, "next_attempt_in_s": 3.0}


def recorder(serial: str, membership: str = "bound", seen_ago_s: float = 60.0) -> dict[str, Any]:
    """One that was met."""
    return {"serial": serial, "membership": membership, "seen_ago_s": seen_ago_s}
