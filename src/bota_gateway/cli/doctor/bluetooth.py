"""Bluetooth on this hub: kernel, BlueZ, adapters, permission."""

import os
import pwd
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from bota_gateway.cli.doctor.cases import Check, Finding, failure, not_checked, ok, warning
from bota_gateway.cli.doctor.facts import Facts, in_thread
from bota_gateway.config import NotifyMode
from bota_gateway.errors import AdapterError, LinkLostError, StatusError
from bota_gateway.radio.adapters import KnownAdapter
from bota_gateway.radio.installed import (
    DESCRIPTORS_CRASH,
    NOT_RUN,
    OLDEST_BLUEZ,
    OLDEST_TESTED_BLUEZ,
    bluez_version,
    try_bluez_as,
)
from bota_gateway.radio.kernel import INTERVAL_LONGEST_S, SUPERVISION_S, controllers, kill_switches, link_defaults
from bota_gateway.radio.opening import BUMBLE

NOT_ALLOWED = "radio_not_allowed"
LOST_SHARE: Final = 0.02
"""Of transfers, ended by the loss of their link; what it cost where it was measured (`SUPERVISION_S`)."""
LOST_LEAST: Final = 3
"""Fewer say nothing: recorders are carried away."""


class Adapters(Check):
    """The adapters that the settings name, or all that there are: there, switched on, and able to connect."""

    group = "Bluetooth"
    name = "adapter"
    needs_settings = False
    limit_s = 20.0
    ON = ok("{name} ({address}) is on")
    OFF = failure("{name} ({address}) is off", "Switch it on: bluetoothctl power on. Or see rfkill below.")
    MISSING = failure("{name} is not there; BlueZ has {there}", "Plug it in again, or correct radio.adapters.")
    NONE = failure("there is none", "Plug one in. A Raspberry Pi's own may be disabled in /boot/firmware/config.txt.")
    USELESS = failure("{name} ({address}) can't connect to recorders", "Use another: it has to support Bluetooth LE.")
    UNKNOWN = not_checked("the kernel has {there}; of BlueZ see bluetoothd")
    WITHOUT_BLUEZ = not_checked("radio.adapters names only what BlueZ does not drive")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask BlueZ; where it is silent, the kernel."""
        if facts.without_bluez:
            yield self.WITHOUT_BLUEZ()
            return
        known = await facts.bluez()
        if isinstance(known, AdapterError):
            there = await in_thread(lambda: controllers(facts.hub.sys_root))
            yield self.UNKNOWN(there=", ".join(there)) if there else self.NONE()
            return
        wanted = [name for name in facts.radio.adapters if not name.startswith(BUMBLE)]
        if not known and not wanted:
            yield self.NONE()
        for finding in self._judge(known, wanted):
            yield finding

    def _judge(self, known: Sequence[KnownAdapter], wanted: Sequence[str]) -> list[Finding]:
        by_name = {key.lower(): one for one in known for key in (one.name, one.address)}
        there = ", ".join(one.name for one in known) or "none"
        found = [self.MISSING(name=name, there=there) for name in wanted if name.lower() not in by_name]
        named = [by_name[name.lower()] for name in wanted if name.lower() in by_name]
        # An adapter that nobody named and that can't connect is passed over, as the gateway does, if there is another.
        usable = [one for one in known if one.central]
        for one in dict.fromkeys(named if wanted else usable or known):
            case = self.USELESS if not one.central else self.ON if one.powered else self.OFF
            found.append(case(name=one.name, address=one.address))
        return found


class Rfkill(Check):
    """The kill switches of Bluetooth."""

    group = "Bluetooth"
    name = "rfkill"
    needs_settings = False
    FREE = ok("nothing is blocked")
    SOFT = failure("{name} is blocked by software", "sudo rfkill unblock bluetooth")
    HARD = failure("{name} is blocked by a switch or key of this machine", "Find the switch: rfkill list bluetooth")
    NONE = not_checked("the kernel has no kill switch for Bluetooth")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Read what the kernel says."""
        switches = await in_thread(lambda: kill_switches(facts.hub.sys_root))
        for one in switches:
            if one.hard:
                yield self.HARD(name=one.name)
            elif one.soft:
                yield self.SOFT(name=one.name)
        if not switches:
            yield self.NONE()
        elif not any(one.hard or one.soft for one in switches):
            yield self.FREE()


class Bluetoothd(Check):
    """BlueZ: whether it runs, and whether its version works. D-Bus may start it when it is asked, if it was stopped."""

    group = "Bluetooth"
    name = "bluetoothd"
    needs_settings = False
    limit_s = 45.0
    RUNS = ok("runs, BlueZ {version}")
    DOWN = failure("{message} [{code}]", "{remedy}")
    TOO_OLD = failure("runs, BlueZ {version}: too old to be used", "Install BlueZ 5.55 or newer.")
    UNTESTED = warning("runs, BlueZ {version}: older than any that was tested", "Install BlueZ 5.66 or newer.")
    CRASHES = warning(
        "runs, BlueZ {version}, which crashed with radio.notify = descriptor",
        'Set radio.notify = "signal", or install a newer BlueZ.',
    )
    KEEPS_OUT = not_checked("does not talk to this user", "Look as root: sudo bota-gateway doctor")
    WITHOUT_CONTROLLER = not_checked("does not start while the kernel has no controller: see adapter")
    WITHOUT_BLUEZ = not_checked("radio.adapters names only what BlueZ does not drive")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask it, and its own tool for the version."""
        if facts.without_bluez:
            yield self.WITHOUT_BLUEZ()
            return
        known = await facts.bluez()
        if isinstance(known, AdapterError):
            if known.error_code == NOT_ALLOWED:
                yield self.KEEPS_OUT.of(known)
            elif await in_thread(lambda: controllers(facts.hub.sys_root)):
                yield self.DOWN.of(known)
            else:  # a condition of bluetooth.service: starting it would do nothing, and say nothing
                yield self.WITHOUT_CONTROLLER()
            return
        version = await bluez_version()
        said = "of unknown version" if version is None else f"{version[0]}.{version[1]}"
        if version is None or version >= OLDEST_TESTED_BLUEZ:
            crashes = version == DESCRIPTORS_CRASH and facts.radio.notify is NotifyMode.DESCRIPTOR
            yield (self.CRASHES if crashes else self.RUNS)(version=said)
        else:
            yield (self.UNTESTED if version >= OLDEST_BLUEZ else self.TOO_OLD)(version=said)


class Permission(Check):
    """Whether the service's user may talk to BlueZ over D-Bus. Root always may, so that user has to try."""

    group = "Bluetooth"
    name = "permission"
    needs_settings = False
    limit_s = 45.0
    GATEWAY_MAY = ok("the running gateway talks to BlueZ")
    MAY = ok("{user} may talk to BlueZ")
    MAY_NOT = failure(
        "{user} may not talk to BlueZ", "sudo adduser {user} bluetooth; sudo systemctl restart bota-gateway"
    )
    UNKNOWN = not_checked("BlueZ can't be asked: see bluetoothd")
    UNTRIED = not_checked("a process of {user} did not get to try it", "Try again when the hub is less busy.")
    NEEDS_ROOT = not_checked("only root can try it for {user}", "sudo bota-gateway doctor")
    WITHOUT_BLUEZ = not_checked("radio.adapters names only what BlueZ does not drive")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Believe a running gateway; else try."""
        if facts.without_bluez:
            yield self.WITHOUT_BLUEZ()
            return
        told = await facts.status()
        problems = [] if isinstance(told, StatusError) else told["problems"]
        radio = [problem for problem in problems if problem["code"].startswith("radio_")]
        name = facts.hub.service_user
        if any(problem["code"] == NOT_ALLOWED for problem in radio):
            yield self.MAY_NOT(user=name)
        elif not isinstance(told, StatusError) and not radio:
            yield self.GATEWAY_MAY()
        else:
            yield await self._tried(facts)

    async def _tried(self, facts: Facts) -> Finding:
        known = await facts.bluez()
        user = _user(facts.hub.service_user)
        if user is None or user.pw_uid == os.geteuid():
            name = pwd.getpwuid(os.geteuid()).pw_name
            refused = known if isinstance(known, AdapterError) else None
        elif os.geteuid() != 0:
            return self.NEEDS_ROOT(user=user.pw_name)
        elif isinstance(known, AdapterError):
            return self.UNKNOWN()
        else:
            name, refused = user.pw_name, await try_bluez_as(user)
        if refused is None:
            return self.MAY(user=name)
        if refused.error_code == NOT_ALLOWED:
            return self.MAY_NOT(user=name)
        return self.UNTRIED(user=name) if refused.error_code == NOT_RUN else self.UNKNOWN()


class Timing(Check):
    """What the kernel asks of a new LE link. It stands in debugfs, which only root may read.

    The kernel's own patience is short, and nearly every hub has it; it is worth a change where links are lost.
    """

    group = "Bluetooth"
    name = "le_timing"
    needs_settings = False
    GOOD = ok("{name}: silence {supervision} ms, interval {shortest} to {longest} ms")
    HASTY = warning(
        "{name} gives a recorder up after {supervision} ms of silence, and {lost} of {transfers} transfers of the last"
        " week ended so: 720 ms keep more of them",
        "In /etc/bluetooth/main.conf, below [LE]: ConnectionSupervisionTimeout=72. Then restart bluetooth.",
    )
    SLOW = warning(
        "{name} may ask for an interval of {longest} ms: transfers are slow",
        "In /etc/bluetooth/main.conf, below [LE]: MinConnectionInterval=24, MaxConnectionInterval=40. Then restart it.",
    )
    NEEDS_ROOT = not_checked("only root may read it", "sudo bota-gateway doctor")
    UNTOLD = not_checked("the kernel does not tell it for {name}")
    NONE = not_checked("the kernel has no controller")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Read it for every controller."""
        root = facts.hub.sys_root
        names = await in_thread(lambda: controllers(root))
        losing = await self._losing(facts)
        for name in names:
            try:
                told = await in_thread(lambda name=name: link_defaults(root, name))  # type: ignore[misc] # mypy 10459
            except PermissionError:
                yield self.NEEDS_ROOT()
                return
            except (OSError, ValueError):
                yield self.UNTOLD(name=name)
                continue
            fields = {
                "name": name,
                "supervision": round(told.supervision_s * 1000),
                "shortest": round(told.shortest_interval_s * 1000),
                "longest": round(told.longest_interval_s * 1000),
            }
            hasty = told.supervision_s < SUPERVISION_S and name in losing
            slow = told.longest_interval_s > INTERVAL_LONGEST_S
            if hasty:
                yield self.HASTY(**fields, lost=losing[name]["reason_times"], transfers=losing[name]["transfers"])
            if slow:
                yield self.SLOW(**fields)
            if not hasty and not slow:
                yield self.GOOD(**fields)
        if not names:
            yield self.NONE()

    async def _losing(self, facts: Facts) -> dict[str, dict[str, Any]]:
        """The running gateway's figures of adapters that lose links, by name."""
        try:
            told = await facts.ask("stats")
        except StatusError:
            return {}
        return {
            one["adapter"]: one
            for one in told["adapters"]
            if one["reason"] == LinkLostError.code
            and one["reason_times"] >= max(LOST_LEAST, LOST_SHARE * one["transfers"])
        }


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
