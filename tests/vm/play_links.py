"""Scenarios of links in good order, and of recorders that differ."""

import json

from bota_gateway.sim.options import Group, RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import DEFAULT_RSSI
from vm.scene import ScenarioError, Scene

AWAY_DBM = -84
"""Of a recorder in the next room."""
SLOW_S = 120
"""For the command line in an emulated guest, a few times over."""
SOON_S = 5
"""Between visits, where a recorder is to be visited again although it never was out of range for long."""


async def install(scene: Scene) -> str:
    """The install script makes a running service out of a source tree, with an exposure of 1.5 or less."""
    await scene.gateway()
    table = await scene.machine.run("systemd-analyze security --no-pager --threshold=15 bota-gateway | tail -n 1")
    line = await scene.machine.run("systemctl show --value --property StatusText bota-gateway")
    return f"{table.split('for ')[-1].strip()}; {line.strip()}"


async def three_recorders(scene: Scene) -> str:
    """Three recorders hold seven recordings; all come home."""
    await scene.gateway()
    for sizes in ((40_000, 5_000), (30_000, 20_000, 1_000), (50_000, 3_000)):
        await scene.recorder(*sizes)
    await scene.home()
    connections = sum(one.seen.connections for one in scene.on_air)
    return f"{len(scene.held)} recordings in {connections} visits"


async def ten_recorders(scene: Scene) -> str:
    """Ten recorders come at once; the three links of the adapter serve them all."""
    await scene.gateway()
    for _ in range(10):
        await scene.recorder(8_000)
    await scene.home()
    return f"{len(scene.held)} recordings"


async def mtus(scene: Scene) -> str:
    """Recorders that grant an ATT MTU of 247 and 509 are emptied; one with 23, too small for a list, is told of."""
    await scene.gateway()
    small = await scene.recorder(options=RecorderOptions(att_mtu=23))
    others = [await scene.recorder(20_000, options=RecorderOptions(att_mtu=mtu)) for mtu in (247, 509)]
    await scene.home()
    await scene.event("link_mtu_small", recorder=small.serial, mtu=23)
    granted = [(await scene.event("recorder_verified", recorder=one.serial))["mtu"] for one in (small, *others)]
    if granted != [23, 247, 509]:
        raise ScenarioError(f"the links had MTUs of {granted}")
    return f"{granted}"


async def supervision_timeout(scene: Scene) -> str:
    """A recorder leaves in mid-transfer without a word and comes back; it is emptied after all."""
    await scene.gateway()
    recorder = await scene.in_transfer(40_000)
    scene.air.set_silent(recorder.serial, True)
    await scene.event("link_lost", address=recorder.address)
    scene.air.set_silent(recorder.serial, False)
    scene.hurry(recorder)
    await scene.home()
    return f"in the end after {recorder.seen.connections} visits"


async def another_program_scans(scene: Scene) -> str:
    """A recorder is carried off in mid-transfer while another program scans; its signal before and after is kept."""
    await scene.gateway()
    # BlueZ forgets the strength of before a link only where nobody scans: it must not be taken for the one after it.
    scan = "bluetoothctl --timeout 900 scan on"
    await scene.machine.run(f"systemd-run --quiet --unit=another-scan --property=StandardInput=null {scan}")
    recorder = await scene.in_transfer(30_000)
    scene.air.set_rssi(recorder.serial, "hub", AWAY_DBM)
    scene.hurry(recorder)
    await scene.home()
    ((serial, file_id),) = scene.held
    ask = f"bota-gateway timeline {serial}/{file_id} --json"
    told = await scene.machine.run(
        f"until {ask} | tee /tmp/told | grep -q rssi_end; do :; done; cat /tmp/told", within=SLOW_S
    )
    await scene.machine.run("systemctl stop another-scan")
    (figures,) = [line["detail"] for line in json.loads(told)["timeline"] if line["happened"] == "captured"]
    seen = (figures["rssi"], figures["rssi_end"])
    if seen != (DEFAULT_RSSI, AWAY_DBM):
        raise ScenarioError(f"the signal before and after the link is told as {seen}")
    return f"{seen[0]} and {seen[1]} dBm"


async def firmware_update(scene: Scene) -> str:
    """Recorders come back with fewer services and with more, their handles moved; BlueZ's memory does no harm."""
    await scene.gateway(interval_s=SOON_S)
    few = frozenset({Group.HARDWARE_REVISION, Group.RECORDING_CONTROL, Group.BATTERY})
    all_before = [await scene.recorder(5_000, options=RecorderOptions(absent=absent)) for absent in (frozenset(), few)]
    await scene.home()
    for before, absent in zip(all_before, (few, frozenset()), strict=True):
        after = await _comes_back(scene, before, RecorderOptions(firmware="1.1.0", absent=absent))
        handles = after.firmware.handles
        if all(handles.get(uuid, handle) == handle for uuid, handle in before.firmware.handles.items()):
            raise ScenarioError("no handle has moved: the scenario shows nothing")
    await scene.home()
    return f"in {' and '.join(str(one.seen.connections) for one in scene.on_air)} visits"


async def encrypted_link(scene: Scene) -> str:
    """A recorder refuses everything before the link is encrypted; it is paired without a question and emptied."""
    await scene.gateway()
    recorder = await scene.recorder(10_000, options=RecorderOptions(requires_encryption=True))
    await scene.home()
    return f"in {recorder.seen.connections} visits"


async def lost_keys(scene: Scene) -> str:
    """A paired recorder comes back without its keys, as after a reset; it is paired anew without a question."""
    await scene.gateway(interval_s=SOON_S)
    options = RecorderOptions(requires_encryption=True)
    before = await scene.recorder(5_000, options=options)
    await scene.home()
    after = await _comes_back(scene, before, options)
    await scene.home()
    await scene.event("recorder_refreshed", address=after.address)
    return f"in {after.seen.connections} visits"


async def notify_descriptor(scene: Scene) -> str:
    """Notifications come by file descriptor, which some versions of bluetoothd do not survive; all come home."""
    await scene.gateway(notify="descriptor")
    for size in (20_000, 10_000):
        await scene.recorder(size)
    await scene.home()
    died = sum("bluetooth.service: Main process exited" in line.text for line in scene.lines())
    return f"bluetoothd died {died} times"


async def notify_signal(scene: Scene) -> str:
    """Notifications come by D-Bus signal, asked for by name."""
    await scene.gateway(notify="signal")
    for size in (20_000, 10_000):
        await scene.recorder(size)
    await scene.home()
    return f"{len(scene.held)} recordings"


async def _comes_back(scene: Scene, before: SimRecorder, options: RecorderOptions) -> SimRecorder:
    """The recorder leaves, and with its serial and address comes another one, which holds something new."""
    await before.stop()
    held = scene.recordings(before.serial, 6_000)
    after = SimRecorder(scene.air, serial=before.serial, recordings=held, options=options)
    await after.start()
    scene.on_air[scene.on_air.index(before)] = after
    return after


PLAYS_FIRST = (install,)
PLAYS = (
    three_recorders,
    mtus,
    supervision_timeout,
    another_program_scans,
    firmware_update,
    encrypted_link,
    lost_keys,
    ten_recorders,
)
PLAYS_WITH_OTHER_SETTINGS = (notify_signal, notify_descriptor)
