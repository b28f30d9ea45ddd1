"""Scenarios in which BlueZ or an adapter fails under the gateway."""

import time

from vm.scene import ScenarioError, Scene

OFF_S = 5
"""How long an adapter stays off: longer than anybody who only restarts it would need."""


async def bluetoothd_restarted(scene: Scene) -> str:
    """Somebody restarts bluetooth.service in mid-transfer; the gateway finds its way back by itself."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    await scene.machine.run("systemctl restart bluetooth")
    return await _comes_back(scene, recorder.serial)


async def bluetoothd_killed(scene: Scene) -> str:
    """The daemon of BlueZ is killed in mid-transfer, and nobody tells the gateway of the disconnect."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    await scene.machine.run("systemctl kill -s KILL bluetooth")
    return await _comes_back(scene, recorder.serial)


async def adapter_powered_off(scene: Scene) -> str:
    """The adapter is powered off over D-Bus in mid-transfer and on again."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    await scene.bluez("Powered", "b false")
    await scene.event("link_lost", address=recorder.address)
    await scene.machine.run(f"sleep {OFF_S}")
    await scene.bluez("Powered", "b true")
    return await _comes_back(scene, recorder.serial)


async def rfkill(scene: Scene) -> str:
    """Bluetooth is blocked by rfkill in mid-transfer, and unblocked."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    await scene.machine.run("rfkill block bluetooth")
    await scene.event("link_lost", address=recorder.address)
    await scene.machine.run(f"sleep {OFF_S}; rfkill unblock bluetooth")
    return await _comes_back(scene, recorder.serial)


async def adapter_replugged(scene: Scene) -> str:
    """The adapter is pulled out in mid-transfer and comes back under another name."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    before = await scene.adapters()
    await scene.unplug("hub")
    scene.air.set_silent("spare", True)  # takes the name that has become free, and hears nothing
    await scene.plug("spare")
    await scene.machine.run("until hciconfig | grep -q hci; do sleep 0.2; done")
    await scene.plug("hub")
    try:
        said = await _comes_back(scene, recorder.serial)
        after = await scene.adapters()
    finally:
        await scene.unplug("spare")
    address = next(iter(before))
    if before[address] == after[address]:
        raise ScenarioError(f"the adapter is {after[address]} again: the scenario shows nothing")
    return f"{before[address]} came back as {after[address]}; {said}"


async def _comes_back(scene: Scene, serial: str) -> str:
    """All come home once the fault is over."""
    recorder = next(one for one in scene.on_air if one.serial == serial)
    scene.hurry(recorder)
    began = time.monotonic()
    await scene.home()
    return f"home {time.monotonic() - began:.0f} s later"


PLAYS = (bluetoothd_restarted, bluetoothd_killed, adapter_powered_off, rfkill, adapter_replugged)
