"""Scenarios in which the whole hub goes down, with recordings in every state of custody."""

import asyncio
from collections.abc import Mapping

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Stall
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from vm.scene import PATIENCE_S, SPOOL, ScenarioError, Scene

States = Mapping[tuple[str, str], Custody]

EVERY_STATE = {
    Custody.LISTED,
    Custody.RECEIVING,
    Custody.CAPTURED,
    Custody.CREATED,
    Custody.COMPLETING,
    Custody.STORED,
    Custody.CONFIRMING,
    Custody.CONFIRMED,
}
"""All that a recording goes through and stays in; ``put`` lasts for one transaction."""
PROGRESS = {state: number for number, state in enumerate(Custody)}
"""How far a recording has come."""


async def rebooted(scene: Scene) -> str:
    """The hub is rebooted with recordings in every state of custody; all come home, none twice."""
    await scene.gateway()
    said = await _in_every_state(scene)
    await scene.machine.run("systemctl reboot --no-block")
    await scene.machine.down()
    return await _goes_on(scene, said)


async def power_cut(scene: Scene) -> str:
    """The power is cut, as before: the spool takes nothing back of what it had said, and all come home, none twice."""
    await scene.gateway()
    await _write_only_what_is_synced(scene)
    said = await _in_every_state(scene)
    await scene.machine.cut()
    return await _goes_on(scene, said)


async def power_cut_control(scene: Scene) -> str:
    """The power is cut under a spool that does not wait for its disk: the cut has to take back what that had said."""
    await scene.gateway(spool=f"{SPOOL}/control")
    await scene.machine.write("/run/unsynced.py", UNSYNCED)
    await scene.machine.write("/run/systemd/system/bota-gateway.service.d/vm.conf", RUN_UNSYNCED)
    await scene.machine.run("systemctl daemon-reload; systemctl restart bota-gateway")
    await _write_only_what_is_synced(scene)
    before = len(scene.made), set(scene.cloud.recordings)
    await scene.recorder(3_000, 4_000)
    await scene.home()
    said = await _states(scene, Custody.CONFIRMED)
    await scene.machine.cut()
    await _is_back(scene)
    lost = _taken_back(said, await _states(scene))
    if not lost:
        raise ScenarioError("the cut took nothing back: a power cut here shows nothing")
    await scene.machine.run(f"systemctl stop bota-gateway; rm -r {SPOOL}/control")
    made, recordings = before
    del scene.made[made:]  # the judge looks at the other spool
    for cloud_id in set(scene.cloud.recordings) - recordings:
        del scene.cloud.recordings[cloud_id]
    return f"as it has to be: {'; '.join(lost)}"


UNSYNCED = """\
import sys
from bota_gateway.spool import database
database.DURABLE = frozenset()  # every step as those that nobody relies on
from bota_gateway.cli.main import main
sys.exit(main())
"""
RUN_UNSYNCED = """\
[Service]
ExecStart=
ExecStart=/opt/bota-gateway/current/bin/python /run/unsynced.py run --config /etc/bota-gateway/config.toml
"""


async def _write_only_what_is_synced(scene: Scene) -> None:
    """From here on the disk gets only what a program waits for.

    Otherwise the kernel writes on its own, after 5 s what ext4's journal covers and after 30 s the rest; how much a cut
    takes back would depend on how fast the machine is.
    """
    vm = "/proc/sys/vm"
    await scene.machine.run(
        f"sync; mount -o remount,commit=3600 / && echo 0 >{vm}/dirty_writeback_centisecs"
        f" && echo 360000 >{vm}/dirty_expire_centisecs"
    )


async def _in_every_state(scene: Scene) -> States:
    """Bring one recording into each state, and hold it there."""
    done = await scene.recorder(3_000)
    await scene.recorder(4_000, faults=Faults(Fault(FaultKind.IGNORE_CONFIRM, times=None)))
    gone = await scene.recorder(5_000)
    async with asyncio.timeout(PATIENCE_S):
        await gone.wait_until(lambda: bool(gone.acknowledged))
        scene.air.set_silent(gone.serial, True)
        await done.wait_until(lambda: not done.recordings)
    await _states(scene, Custody.CONFIRMED, Custody.STORED, Custody.CONFIRMING)
    scene.cloud.faults.add("POST /recordings/{id}/upload-complete", Stall(), times=None)
    await scene.recorder(6_000)
    await _states(scene, Custody.COMPLETING)
    scene.cloud.faults.add("PUT s3", Stall(), times=None)
    await scene.recorder(7_000)
    await _states(scene, Custody.CREATED)
    await scene.recorder(8_000)
    await _states(scene, Custody.CAPTURED)
    await scene.in_transfer(60_000, 1_000)
    return await _states(scene, *EVERY_STATE)


async def _states(scene: Scene, *wanted: Custody) -> States:
    """The states of all recordings, once ``wanted`` are among them."""
    found: States | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while found is None or not set(wanted) <= set(found.values()):
                await asyncio.sleep(0.5)  # the gateway has to be asked
                found = await scene.states()
    except TimeoutError:
        raise ScenarioError(f"not all of {wanted} are among {found}") from None
    return found


async def _goes_on(scene: Scene, said: States) -> str:
    """The hub comes up again, has forgotten nothing, and brings everything home."""
    for recorder in scene.on_air:
        scene.air.set_silent(recorder.serial, True)
    await _is_back(scene)
    lost = _taken_back(said, await _states(scene))
    if lost:
        raise ScenarioError(f"the spool takes back what it had said: {'; '.join(lost)}")
    scene.cloud.faults.clear()
    for recorder in scene.on_air:
        recorder.faults.clear()
        scene.air.set_silent(recorder.serial, False)
        scene.hurry(recorder)
    await scene.home(within=2 * PATIENCE_S)
    return ", ".join(sorted(set(said.values())))


async def _is_back(scene: Scene) -> None:
    """The power is there again."""
    await scene.forget_adapter("hub")
    await scene.machine.start()
    await scene.plug("hub")


def _taken_back(said: States, now: States) -> list[str]:
    """What is less far than it was; a transfer that was interrupted begins anew."""
    reached = {key: Custody.LISTED if state is Custody.RECEIVING else state for key, state in said.items()}
    found = {key: now.get(key) for key in reached}
    return [
        f"{key[0]}/{key[1]} was {reached[key]} and is {state or 'not known'}"
        for key, state in found.items()
        if state is None or PROGRESS[state] < PROGRESS[reached[key]]
    ]


PLAYS = (rebooted, power_cut, power_cut_control)
