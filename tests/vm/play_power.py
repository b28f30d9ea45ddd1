"""Scenarios in which the whole hub goes down, with recordings in every state of custody."""

import asyncio

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Stall
from bota_gateway.sim.options import RecorderOptions
from vm.scene import PATIENCE_S, ScenarioError, Scene

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
DELETION_S = 120.0
"""A recorder that takes its time to delete: it still lists what was confirmed."""


async def rebooted(scene: Scene) -> str:
    """The hub is rebooted with recordings in every state of custody; all come home, none twice."""
    states = await _in_every_state(scene)
    await scene.machine.run("systemctl reboot --no-block")
    await scene.machine.down()
    await _back(scene)
    return states


async def power_cut(scene: Scene) -> str:
    """The power is cut with recordings in every state of custody; all come home, none twice."""
    states = await _in_every_state(scene)
    await scene.machine.cut()
    await _back(scene)
    return states


async def _in_every_state(scene: Scene) -> str:
    """Bring one recording into each state, and hold it there."""
    await scene.gateway()
    done = await scene.recorder(3_000)
    await scene.recorder(4_000, options=RecorderOptions(deletion_delay_s=DELETION_S))
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
    return ", ".join(sorted(await _states(scene, *EVERY_STATE)))


async def _states(scene: Scene, *wanted: Custody) -> set[str]:
    """The states of all recordings, once ``wanted`` are among them."""
    found: set[str] = set()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not found >= set(wanted):
                await asyncio.sleep(1)  # the gateway has to be asked
                found = {state for states in (await scene.states()).values() for state in states}
    except TimeoutError:
        raise ScenarioError(f"no recording is {set(wanted) - found}; they are {found}") from None
    return found


async def _back(scene: Scene) -> None:
    """The hub comes up again, everybody is in range, and the cloud answers."""
    await scene.forget_adapter("hub")
    scene.cloud.faults.clear()
    await scene.machine.start()
    for recorder in scene.on_air:
        scene.air.set_silent(recorder.serial, False)
        scene.hurry(recorder)
    await scene.plug("hub")
    await scene.home(within=2 * PATIENCE_S)


PLAYS = (rebooted, power_cut)
