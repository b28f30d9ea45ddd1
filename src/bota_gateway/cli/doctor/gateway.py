"""The gateway itself: its configuration, the running daemon, the recorders it has met."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from bota_gateway.cli.doctor.cases import Check, Finding, failure, not_checked, ok, warning
from bota_gateway.cli.doctor.facts import Facts
from bota_gateway.errors import AdapterError, StatusError
from bota_gateway.model import Membership
from bota_gateway.radio.listening import LISTEN_S, listen
from bota_gateway.status.words import MISSING, duration

SILENT_S: Final = 86_400.0
"""A recorder that is worn comes near its hub every day; if none did, the hub may stand in the wrong place."""


class Configuration(Check):
    """The configuration file and environment. Without them nothing else can be judged by the settings."""

    group = "Gateway"
    name = "config"
    needs_settings = False
    GOOD = ok("can be used")
    BAD = failure("{message} [{code}]", "{remedy}")
    CLOSED = not_checked("{message}", "{remedy}")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Raises nothing: it was read before."""
        error = facts.config_error
        if error is None:
            yield self.GOOD()
        else:  # a file that holds the key is closed to most users, as it should be
            yield (self.CLOSED if error.error_code == "config_closed" else self.BAD).of(error)


class Daemon(Check):
    """Whether the gateway runs, and what it says of itself."""

    group = "Gateway"
    name = "daemon"
    needs_settings = False
    WELL = ok("runs: {summary}")
    RESTS = warning(
        "runs, but {message} [{code}]; next try in {next_attempt_in_s:duration}", "See the checks of the cloud below."
    )
    ATTENTION = warning("runs, and needs you: {summary}", "See: bota-gateway status; bota-gateway recordings")
    TROUBLE = failure("{part}: {message} [{code}]", "{remedy}")
    SET_ASIDE = warning("{message}", "{remedy}")
    NONE = warning("{message}", "Start it: sudo systemctl start bota-gateway")
    SILENT = failure("{message}", "{remedy}")
    FORBIDDEN = not_checked("{message}", "{remedy}")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask it over its socket."""
        told = await facts.status()
        if isinstance(told, StatusError):
            others = {"status_silent": self.SILENT, "status_forbidden": self.FORBIDDEN}
            yield others.get(told.error_code, self.NONE).of(told)
            return
        for problem in told["problems"]:
            yield (self.SET_ASIDE if problem["code"] == "spool_set_aside" else self.TROUBLE)(**problem)
        for pause in told["pauses"]:
            yield self.RESTS(**pause)
        if not told["problems"] and not told["pauses"]:
            yield (self.WELL if told["health"] in {"ok", "waiting"} else self.ATTENTION)(**told)


class Recorders(Check):
    """Recorders that were met, and whose they are; with --scan and without a gateway, those heard right now."""

    group = "Gateway"
    name = "recorders"
    needs_settings = False
    limit_s = LISTEN_S + 20.0
    KNOWN = ok("{bound} of the project, {strangers} of others; last heard {ago} ago")
    NONE = warning("none has been met yet", "Is one charged, near, and not held by a phone? See Bluetooth below.")
    SILENT = warning("none of the project was heard for {ago}", "Do their wearers still come by? Is the antenna free?")
    UNBOUND = warning("{serial} is bound to nobody: its recordings wait here", "Bind it to its user in the dashboard.")
    UNRESOLVED = warning("{serial}: the cloud has not said yet whose it is", "See the checks of the cloud below.")
    HEARD = ok("{name} at {address}, {rssi} dBm by {adapter}")
    NOT_HEARD = warning("none heard in {seconds:duration}", "Bring one near, charged, and not held by a phone.")
    CANT_SCAN = not_checked("{message}", "{remedy}")
    NOT_ASKED = not_checked("no gateway tells of them", "Start it, or listen without it: bota-gateway doctor --scan")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask the gateway; beside a running one nobody else scans."""
        told = await facts.status()
        if not isinstance(told, StatusError):
            for finding in self._met(await facts.ask("recorders")):
                yield finding
        elif facts.scan and told.error_code == "status_no_daemon":
            async for finding in self._listen(facts):
                yield finding
        else:
            yield self.NOT_ASKED()

    def _met(self, recorders: Sequence[dict[str, Any]]) -> list[Finding]:
        if not recorders:
            return [self.NONE()]
        ours = [one for one in recorders if one["membership"] != Membership.STRANGER]
        bound = [one for one in ours if one["membership"] == Membership.BOUND]
        ago = min((one["seen_ago_s"] for one in ours), default=None)
        if ago is not None and ago > SILENT_S:
            found = [self.SILENT(ago=duration(ago))]
        else:
            said = MISSING if ago is None else duration(max(0.0, ago))
            found = [self.KNOWN(bound=len(bound), strangers=len(recorders) - len(ours), ago=said)]
        found += [self.UNBOUND(**one) for one in ours if one["membership"] == Membership.UNBOUND]
        return found + [self.UNRESOLVED(**one) for one in ours if one["membership"] == Membership.UNRESOLVED]

    async def _listen(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        try:
            async with facts.adapters() as adapters:
                heard = await listen(adapters, LISTEN_S, facts.hub.now)
        except AdapterError as error:
            yield self.CANT_SCAN.of(error)
            return
        for seen in heard:
            yield self.HEARD(name=seen.name, address=seen.address, rssi=seen.rssi, adapter=seen.adapter)
        if not heard:
            yield self.NOT_HEARD(seconds=LISTEN_S)
