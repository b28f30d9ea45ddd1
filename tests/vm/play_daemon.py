"""Scenarios in which the gateway's own process ends or hangs."""

import asyncio
import time

from vm.scene import PATIENCE_S, ScenarioError, Scene

SHORT_WATCHDOG_S = 20
START_NOW = "systemctl restart bota-gateway"
"""After a kill: a start would wait with systemd for RestartSec=, which is 20 s."""


async def stopped_in_transfer(scene: Scene) -> str:
    """The service is stopped in mid-transfer: the gateway ends in time and in order, and gives the recorder back."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    began = time.monotonic()
    await scene.machine.run("systemctl stop bota-gateway")
    took = time.monotonic() - began
    result = (await scene.machine.run("systemctl show --value --property Result bota-gateway")).strip()
    if result != "success":
        raise ScenarioError(f"the service ended with {result}")
    async with asyncio.timeout(PATIENCE_S):
        await recorder.wait_until(lambda: not recorder.connected)
    scene.hurry(recorder)
    await scene.machine.run("systemctl start bota-gateway")
    await scene.home()
    return f"stopped in {took:.0f} s"


async def killed_while_connected(scene: Scene) -> str:
    """The gateway is killed in mid-transfer, and BlueZ keeps the link; the next life finds it and ends it."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    await scene.machine.run("systemctl kill -s KILL bota-gateway")
    connected = recorder.connected
    scene.hurry(recorder)
    await scene.machine.run(START_NOW)
    await scene.home()
    if not connected:
        raise ScenarioError("BlueZ had ended the link: the scenario shows nothing")
    ended = scene.machine.journal.events("leftover_link_ended", scene.mark)
    return f"{len(ended)} link of the earlier life ended"


async def killed_in_connect(scene: Scene) -> str:
    """The gateway is killed while it connects; the next life gets through to that recorder all the same."""
    await scene.gateway()
    controller = scene.air._stations["hub"]
    take_offer, controller.connect_to = controller.connect_to, lambda *_: None  # type: ignore[method-assign]  # see below
    try:
        # The connect stays pending: the recorder offers itself, and the controller does not take the offer.
        await scene.recorder(10_000)
        async with asyncio.timeout(PATIENCE_S):
            while controller.pending_le_connection is None:  # noqa: ASYNC110 - a controller tells nobody that it waits
                await asyncio.sleep(0.05)
        await scene.machine.run("systemctl kill -s KILL bota-gateway")
    finally:
        controller.connect_to = take_offer  # type: ignore[method-assign]  # as before
    began = time.monotonic()
    await scene.machine.run(START_NOW)
    await scene.home()
    return f"home {time.monotonic() - began:.0f} s later"


async def hung(scene: Scene) -> str:
    """The gateway hangs; systemd's watchdog ends it and starts another, which goes on."""
    await scene.gateway()
    drop_in = "/run/systemd/system/bota-gateway.service.d/vm.conf"
    await scene.machine.write(drop_in, f"[Service]\nWatchdogSec={SHORT_WATCHDOG_S}\nRestartSec=1\n")
    await scene.machine.run("systemctl daemon-reload; systemctl restart bota-gateway")
    recorder = await scene.in_transfer(40_000)
    await scene.machine.run("systemctl kill -s STOP bota-gateway")
    line = await scene.machine.journal.wait_for(
        lambda line: "Watchdog timeout" in line.text, since=scene.mark, within=PATIENCE_S
    )
    scene.hurry(recorder)
    await scene.home()
    await scene.machine.run(f"rm {drop_in}; systemctl daemon-reload")
    return line.text.split(": ", 1)[-1]


PLAYS = (stopped_in_transfer, killed_while_connected, killed_in_connect, hung)
