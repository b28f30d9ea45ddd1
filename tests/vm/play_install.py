"""Scenarios of what a technician does: examine the hub, upgrade the gateway, change over to the Debian package."""

import base64
import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from vm.machine import GuestError
from vm.scene import ScenarioError, Scene

TREE = "/usr/src/bota-gateway"
OPT = "/opt/bota-gateway"
ETC = "/etc/bota-gateway"
NEXT = "/usr/src/next"
SLOW_S = 400.0
"""For what takes half a minute where it is not emulated."""
NEVER_READY = "sed -i /self._manager.ready/d $site/bota_gateway/daemon/signs.py"
"""Makes a version out of the gateway that does everything, and never says that it is ready."""
NEVER_READY_S = 45
"""How long it is given; one that gets ready is so after 20 s."""
SOCKET = "/run/bota-gateway/status.sock"

LONG_BYTES = 600_000
"""So much is under way for longer than the script takes to get to the stop."""

EXPECTED = {
    "api_slow",  # an emulated hub is
    "clock_unkept",  # nothing keeps the guest's clock
    "disk_small",  # as the guest's is
    "daemon_attention",  # recorders of other scenarios, which have left in want of something
    "recorders_unbound",
    "recorders_unresolved",
}
"""Warnings that a hub in good order gives here."""
BLUEZ_SETTINGS = "/etc/bluetooth/main.conf"
LONGER = "ConnectionSupervisionTimeout"
BUNDLED = {"doctor.json", "log.txt", "recorders.json", "recordings.json", "settings.json", "status.json", "system.txt"}


async def doctor(scene: Scene) -> str:
    """The doctor is content with a hub at work; what fails it names, and its remedies work. Its archive has no key."""
    await scene.gateway()
    await scene.recorder(3_000)
    await scene.home()
    said = await _examine(scene, "--bundle /run/doctor.tar.gz")
    if wrong := [one for one in said.values() if one["verdict"] not in {"ok", "not_checked"}]:
        unexpected = [f"{one['code']}: {one['found']}" for one in wrong if one["code"] not in EXPECTED]
        if unexpected:
            raise ScenarioError(f"beside a gateway at work it found {unexpected}")
    await _judge_bundle(scene, "/run/doctor.tar.gz")
    healthy = [one["check"] for one in said.values() if one["verdict"] == "ok"]

    await scene.machine.run("rfkill block bluetooth")
    await _ail(scene, {"rfkill_soft", "adapter_off"}, cure="rfkill_soft")
    # As it advises where links are lost; read back below.
    await scene.machine.run(rf"sed -i '/^\[LE\]/a {LONGER}=72' {BLUEZ_SETTINGS}")
    try:
        await scene.machine.run("systemctl disable --now bluetooth")
        await _ail(scene, {"bluetoothd_down"}, cure="bluetoothd_down")
        await scene.recorder(2_000)
        await scene.home()
        patience = await scene.machine.run("cat /sys/kernel/debug/bluetooth/hci*/supervision_timeout")
    finally:
        await scene.machine.run(f"sed -i /^{LONGER}=/d {BLUEZ_SETTINGS}; systemctl restart bluetooth")
    if "72" not in patience.split():
        raise ScenarioError(f"with {LONGER}=72 the kernel's is {patience}")
    return f"ok: {', '.join(dict.fromkeys(healthy))}; rfkill and bluetoothd named and mended"


async def _examine(scene: Scene, options: str = "", *, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the doctor finds, by code."""
    output = await scene.machine.run(f"bota-gateway doctor --json {options} 2>/dev/null; echo $?", within=SLOW_S)
    text, _, ended = output.rstrip().rpartition("\n")
    if ended != str(code):
        raise ScenarioError(f"the doctor exited with {ended}, not {code}: {text}")
    return {one["code"]: one for one in json.loads(text)["findings"]}


async def _ail(scene: Scene, expected: Iterable[str], *, cure: str) -> None:
    """The doctor finds what is wrong now; its remedy is done to the letter."""
    said = await _examine(scene, code=1)
    failures = {one["code"] for one in said.values() if one["verdict"] == "failure"}
    if not failures >= set(expected):
        raise ScenarioError(f"the doctor found {failures}, not {expected}")
    remedy = re.search(r"sudo (\w[\w -]+)", said[cure]["remedy"])
    if remedy is None:
        raise ScenarioError(f"no command in the remedy {said[cure]['remedy']!r}")
    await scene.machine.run(remedy[1])


async def _judge_bundle(scene: Scene, path: str) -> None:
    packed = base64.b64decode(await scene.machine.run(f"base64 -w 0 {path}; rm {path}"))
    if scene.cloud.api_key.encode() in packed:
        raise ScenarioError("the archive has the key in it")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        texts = {name.split("/")[-1]: archive.extractfile(name) for name in archive.getnames()}
        if missing := BUNDLED - texts.keys():
            raise ScenarioError(f"the archive lacks {missing}")
        with_key = [name for name, file in texts.items() if file and scene.cloud.api_key.encode() in file.read()]
    if with_key:
        raise ScenarioError(f"the key is in {with_key} of the archive")


async def upgraded(scene: Scene) -> str:
    """The script upgrades the gateway in mid-transfer; nothing is lost."""
    await scene.gateway()
    async with _as_it_was(scene):
        new = await _lay_ready(scene, "9.0.1")
        said = await _in_transfer(scene, _upgrade(300))
        if await _version(scene) != new:
            raise ScenarioError(f"{await _version(scene)} runs, not {new}: {said}")
    return f"{len(scene.held)} recording, though its transfer was interrupted"


async def upgrade_taken_back(scene: Scene) -> str:
    """The script upgrades in mid-transfer to a version that never gets ready, and goes back; nothing is lost."""
    await scene.gateway()
    async with _as_it_was(scene):
        old = await _version(scene)
        await _lay_ready(scene, "9.0.0", NEVER_READY)
        said = await _in_transfer(scene, _upgrade(NEVER_READY_S))
        if f"{old} is back and runs" not in said or await _version(scene) != old:
            raise ScenarioError(f"it did not go back: {said}")
    return f"{len(scene.held)} recording, though its transfer was interrupted"


async def upgrade_cut_off(scene: Scene) -> str:
    """The power is cut while a version that never gets ready is given its time; run again, the script goes back."""
    await scene.gateway()
    async with _as_it_was(scene):
        old = await _version(scene)
        new = await _lay_ready(scene, "9.0.0", NEVER_READY)
        await scene.machine.run(f"systemd-run --unit=upgrade {_upgrade(600)}")
        await scene.machine.run(
            f"until [ $(readlink {OPT}/current) = versions/{new} ] && [ -S {SOCKET} ]; do sleep 1; done", within=SLOW_S
        )
        await scene.machine.cut()
        await scene.forget_adapter("hub")
        await scene.machine.start()
        await scene.plug("hub")
        said = await scene.machine.run(f"{_upgrade(NEVER_READY_S)} 2>&1", check=False, within=SLOW_S)
        if f"an upgrade from {old} was interrupted" not in said or await _version(scene) != old:
            raise ScenarioError(f"it did not go back: {said}")
        await scene.recorder(3_000)
        await scene.home()
    return "the version from before is back"


async def _in_transfer(scene: Scene, command: str) -> str:
    """Run what interrupts a transfer; the recording comes home all the same."""
    recorder = await scene.in_transfer(LONG_BYTES)
    said = await scene.machine.run(f"{command} 2>&1", check=False, within=SLOW_S)
    scene.hurry(recorder)
    await scene.home()
    if len(recorder.seen.transfers) == 1:
        raise ScenarioError("the transfer was over before: the scenario shows nothing")
    return said


def _upgrade(ready_within: int) -> str:
    return f"{NEXT}/scripts/install --upgrade --no-apt --ready-within {ready_within}"


async def _lay_ready(scene: Scene, version: str, change: str = ":") -> str:
    """Another version of the tree, and what the script would build of it: a copy of the program, with a change."""
    return (
        await scene.machine.run(
            f"""set -e
            rm -rf {NEXT} && cp -a {TREE} {NEXT}
            sed -i 's/^version = .*/version = "{version}"/' {NEXT}/pyproject.toml
            old=$(basename $(readlink {OPT}/current)) new=$(bash -c '. {NEXT}/scripts/hub.sh && program_id ""')
            cp -al {OPT}/versions/$old {OPT}/versions/$new  # sed and Python write new files beside the old ones
            sed -i "s,versions/$old,versions/$new," $(grep -lI versions/$old {OPT}/versions/$new/bin/*)
            site=$(echo {OPT}/versions/$new/lib/python3*/site-packages)
            {change}
            echo $new""",
            within=SLOW_S,
        )
    ).strip()


async def package(scene: Scene) -> str:
    """The Debian package takes the place of what the script installed, and empties a recorder; then it is purged."""
    await scene.gateway()
    async with _as_it_was(scene):
        await scene.machine.run(f"{TREE}/scripts/install --uninstall", within=SLOW_S)
        await scene.machine.run("dpkg --install /usr/src/bota-gateway_*.deb", within=SLOW_S)
        where = await scene.machine.run("systemctl show --value --property ActiveState,FragmentPath bota-gateway")
        # Debian 13 says /usr/lib for the same place.
        if where.replace("/usr/lib/", "/lib/").split() != ["active", "/lib/systemd/system/bota-gateway.service"]:
            raise ScenarioError(f"after the package's installation: {where}")
        await scene.machine.run("systemd-analyze security --no-pager --threshold=15 bota-gateway")
        await scene.recorder(20_000, 3_000)
        await scene.home()
        said = await scene.machine.run("dpkg --purge bota-gateway", within=SLOW_S)
        if "they stay: /var/lib/bota-gateway" not in said:
            raise ScenarioError(f"at the purge it says {said!r}")
    return f"{len(scene.held)} recordings pulled by the packaged program; its purge kept the spool"


async def _version(scene: Scene) -> str:
    return (await scene.machine.run(f"basename $(readlink {OPT}/current)")).strip()


@asynccontextmanager
async def _as_it_was(scene: Scene) -> AsyncIterator[None]:
    """What the script has installed, with its configuration and key, is in its place again afterwards."""
    await scene.machine.run(
        f"rm -rf /opt/kept && mkdir /opt/kept && cp -al {OPT} /opt/kept/opt && cp -a {ETC} /opt/kept/etc"
    )
    try:
        yield
    finally:
        try:
            await scene.machine.run(
                f"""systemctl stop bota-gateway
                if [ -e /usr/lib/bota-gateway ]; then dpkg --purge bota-gateway; fi
                rm -rf {OPT} {ETC} {NEXT} && mv /opt/kept/opt {OPT} && mv /opt/kept/etc {ETC}
                if [ -e /etc/systemd/system/bota-gateway.service ]; then exec systemctl start bota-gateway; fi
                exec {TREE}/scripts/install --no-apt""",
                within=SLOW_S,
            )
        except GuestError as failed:
            raise ScenarioError(f"the hub could not be made as it was before: {failed}") from failed


PLAYS = (doctor, upgraded, upgrade_taken_back, upgrade_cut_off, package)
