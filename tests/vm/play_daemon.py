"""Scenarios in which the gateway's own process ends or hangs."""

import asyncio
import time

from bumble import hci

from bota_gateway.sim.recorder import SimRecorder
from vm.scene import PATIENCE_S, ScenarioError, Scene

SHORT_WATCHDOG_S = 20
_ADVERTISING = hci.HCI_LE_Set_Advertising_Parameters_Command.AdvertisingType


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
    await scene.machine.run("systemctl kill -s KILL bota-gateway; systemctl reset-failed bota-gateway")
    connected = recorder.connected
    scene.hurry(recorder)
    await scene.machine.run("systemctl start bota-gateway")
    await scene.home()
    if not connected:
        raise ScenarioError("BlueZ had ended the link: the scenario shows nothing")
    ended = scene.machine.journal.events("leftover_link_ended", scene.mark)
    return f"{len(ended)} link of the earlier life ended"


async def killed_in_connect(scene: Scene) -> str:
    """The gateway is killed while it connects; the next life gets through to that recorder all the same."""
    await scene.gateway()
    recorder = await scene.recorder(10_000)
    _let_connect(scene, recorder, False)
    await scene.event("visit_started", address=recorder.address)
    async with asyncio.timeout(PATIENCE_S):
        while scene.air._stations["hub"].pending_le_connection is None:
            if recorder.connected:
                raise ScenarioError("it was connected before the scenario could hinder it")
            await asyncio.sleep(0.05)  # a controller tells nobody that it waits for an advertisement
    await scene.machine.run("systemctl kill -s KILL bota-gateway; systemctl reset-failed bota-gateway")
    began = time.monotonic()
    _let_connect(scene, recorder, True)
    await scene.machine.run("systemctl start bota-gateway")
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
        lambda line: "Watchdog timeout" in line.text, since=scene.mark, within=3 * SHORT_WATCHDOG_S
    )
    scene.hurry(recorder)
    await scene.home()
    await scene.machine.run(f"rm {drop_in}; systemctl daemon-reload")
    return line.text.split(": ", 1)[-1]


def _let_connect(scene: Scene, recorder: SimRecorder, connectable: bool) -> None:
    """A recorder that advertises as not connectable is seen, and a connect to it stays pending."""
    advertiser = scene.air._stations[recorder.serial].le_legacy_advertiser
    advertiser.advertising_type = _ADVERTISING.ADV_IND if connectable else _ADVERTISING.ADV_SCAN_IND


PLAYS = (stopped_in_transfer, killed_while_connected, killed_in_connect, hung)
