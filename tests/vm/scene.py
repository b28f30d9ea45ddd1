"""What a scenario plays with: the hub in its machine, recorders and the air on this side, a cloud on loopback."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bumble.transport.common import Transport
from bumble.transport.unix import open_unix_client_transport

from bota_gateway.model import Custody
from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.evidence import Held
from support.gathering import cloud_copies, held_by
from support.processes import free_port
from support.spooling import noise
from vm.journal import Line
from vm.machine import Machine

BYTES_PER_S = 20_000
"""Pace of every link. An emulated guest on a busy machine keeps up with some 60,000 on all links together; what comes
faster waits in the guest, for which it has much room (``furnish`` in scripts/vm-image)."""
SLOW_BYTES_PER_S = 3_000
"""Pace of a link on which something is to happen in mid-transfer: 40 kB take 13 s."""
PART_BYTES = 6_000
"""So much of a recording has been sent when that happens."""
FIRST_START = 1_790_000_000
"""When the first recording was made; the others follow."""
ADDRESSES = {"hub": "B0:7A:00:00:00:01", "spare": "B0:7A:00:00:00:02"}
"""Public addresses of the adapters."""
SERIALS = 99
"""Recorders that the cloud knows; more than all scenarios use."""
INTERVAL_S = 60
"""Between visits: longer than a recorder that has left counts as present (``PRESENT_S`` of radio/), so that nobody
waits for connects to those of earlier scenarios."""
SPOOL = "/var/lib/bota-gateway"
PATIENCE_S = 400.0
"""For all recordings of a scenario to come home; a guest is 12 to 19 times slower than this machine."""

CONFIG = """
[log]
format = "json"

[cloud]
api_base = "{api_base}"
s3_hosts = ["{s3_host}"]
profile = "e"

[spool]
min_free_bytes = 67108864
directory = "{spool}"

[visits]
interval_s = {interval_s}
shortest_s = 5
longest_s = {interval_s}
linger_s = 10

[radio]
notify = "{notify}"
"""


class ScenarioError(Exception):
    """The gateway did not do what the scenario expects."""


@dataclass
class Scene:
    """The whole of it, for as long as the machine runs."""

    machine: Machine
    air: VirtualRadio
    cloud: EmulatedCloud
    _stack: AsyncExitStack
    _transports: dict[str, Transport] = field(default_factory=dict)
    _made: int = 0
    _serials: int = 0
    on_air: list[SimRecorder] = field(default_factory=list)
    """Recorders of the present scenario."""
    held: dict[tuple[str, str], StoredRecording] = field(default_factory=dict)
    """Every recording of the present scenario, by serial and file id."""
    made: list[Held] = field(default_factory=list)
    """Every recording of all scenarios since the spool was new."""
    config: dict[str, Any] = field(default_factory=dict)
    """What the running gateway was started with."""
    installed: bool = False
    mark: int = 0
    """Where the present scenario begins in the journal."""

    @classmethod
    @asynccontextmanager
    async def open(cls, image: Path, work: Path, accelerator: str) -> AsyncIterator["Scene"]:
        """Put everything up and boot."""
        async with AsyncExitStack() as stack:
            air = VirtualRadio(bytes_per_s=BYTES_PER_S, seed=1)
            stack.callback(air.close)
            options = CloudOptions(
                api_port=free_port(),
                s3_port=free_port(),
                requests_per_minute=None,
                upload_urls_per_minute=None,
                directory=Path(stack.enter_context(tempfile.TemporaryDirectory())),
            )
            cloud = await stack.enter_async_context(EmulatedCloud("e", seed=1, options=options))
            for number in range(1, SERIALS + 1):  # beforehand: a hub asks for the project's recorders now and then
                cloud.devices.register(_serial(number), f"eu_wearer{number}")
            ports = (options.api_port, options.s3_port)
            machine = Machine(image, work, ports=ports, accelerator=accelerator)
            stack.push_async_callback(machine.cut)
            await machine.start()
            scene = cls(machine, air, cloud, stack)
            await scene.plug("hub")
            yield scene

    # -- the hub ------------------------------------------------------------------------------------------------------

    async def plug(self, name: str) -> None:
        """Plug an adapter in."""
        transport = await open_unix_client_transport(str(self.machine.port(name)))
        self._transports[name] = transport
        self.air.attach(name, transport, public_address=ADDRESSES[name])
        transport.source.terminated.add_done_callback(lambda _: self._went_off(name, transport))
        await self.machine.run(f"systemctl start vm-adapter@{name}")

    async def unplug(self, name: str) -> None:
        """Pull an adapter out."""
        await self.machine.run(f"systemctl stop vm-adapter@{name}")
        await self.forget_adapter(name)

    def _went_off(self, name: str, transport: Transport) -> None:
        """The machine is off, and its adapter with it."""
        if self._transports.get(name) is transport:
            self.air.remove(name)

    async def forget_adapter(self, name: str) -> None:
        """Take the controller of an adapter that is gone off the air."""
        self.air.remove(name)
        await self._transports.pop(name).close()

    async def gateway(self, *, interval_s: int = INTERVAL_S, notify: str = "auto", spool: str = SPOOL) -> None:
        """The gateway runs with this configuration when this returns; one that does already is left alone."""
        config = {"interval_s": interval_s, "notify": notify, "spool": spool}
        state = await self.machine.run("systemctl is-active bota-gateway", check=False)
        if config == self.config and state.strip() == "active":
            return
        text = CONFIG.format(api_base=self.cloud.api_base, s3_host=self.cloud.s3_host, **config)
        await self.machine.write("/etc/bota-gateway/config.toml", text)
        if self.installed:
            await self.machine.run("systemctl reset-failed bota-gateway; systemctl restart bota-gateway")
        else:
            await self.install()
        self.config = config

    async def install(self) -> None:
        """Install the gateway by its own script, which leaves it running."""
        await self.machine.write("/run/api-key", self.cloud.api_key, mode="600")
        await self.machine.run("/usr/src/bota-gateway/scripts/install --no-apt --key-file /run/api-key")
        self.installed = True

    async def pid(self) -> int:
        """Process id of the gateway; 0 when it does not run."""
        return int(await self.machine.run("systemctl show --value --property MainPID bota-gateway"))

    async def bluez(self, name: str, value: str, *, adapter: str = "hci0") -> None:
        """Set a property of an adapter over D-Bus, such as ``Powered`` to ``b false``."""
        command = f"busctl set-property org.bluez /org/bluez/{adapter} org.bluez.Adapter1 {name} {value}"
        await self.machine.run(command, check=value == "b false")

    async def adapters(self) -> dict[str, str]:
        """The guest's adapters: names by address, as its kernel knows them."""
        said = await self.machine.run(
            "hciconfig | sed -n 's/^\\(hci[0-9]*\\):.*/\\1/p; s/.*BD Address: \\([0-9A-F:]*\\).*/\\1/p'"
        )
        words = said.split()
        return dict(zip(words[1::2], words[::2], strict=True))

    async def states(self) -> dict[tuple[str, str], Custody] | None:
        """Custody states of this scenario's recordings, by serial and file id; None while the gateway says nothing."""
        rows = await self.machine.ask_gateway("recordings")
        if rows is None:
            return None
        found = {(row["serial"], row["file_id"]): Custody(row["state"]) for row in rows}
        return {key: state for key, state in found.items() if key in self.held}

    def lines(self) -> list[Line]:
        """What the journal got in this scenario."""
        return self.machine.journal.lines[self.mark :]

    async def event(self, name: str, *, within: float = PATIENCE_S, **fields: object) -> Mapping[str, Any]:
        """The gateway's first event of this name in this scenario, or the next if it has not come yet."""
        return await self.machine.journal.event(name, since=self.mark, within=within, **fields)

    # -- recorders ----------------------------------------------------------------------------------------------------

    async def recorder(self, *sizes: int, **more: Any) -> SimRecorder:
        """Switch on a recorder that holds recordings of these sizes in bytes; ``more`` are its options and faults."""
        self._serials += 1
        serial = _serial(self._serials)
        recorder = SimRecorder(self.air, serial=serial, recordings=self.recordings(serial, *sizes), **more)
        await recorder.start()
        self.on_air.append(recorder)
        return recorder

    async def in_transfer(self, *sizes: int, **more: Any) -> SimRecorder:
        """A recorder that sends its first recording, slowly: it has sent a part when this returns."""
        recorder = await self.recorder(*sizes, **more)
        self.air.set_pace(SLOW_BYTES_PER_S, recorder.serial)
        await self.sending(recorder)
        return recorder

    async def sending(self, recorder: SimRecorder) -> None:
        """Wait until a part of its next transfer has been sent."""
        before = len(recorder.seen.transfers)
        async with asyncio.timeout(PATIENCE_S):
            await recorder.wait_until(lambda: len(recorder.seen.transfers) > before)
            transfer = recorder.seen.transfers[-1]
            while transfer.bytes_sent < PART_BYTES:  # noqa: ASYNC110 - a recorder tells of no single packet
                await asyncio.sleep(0.05)

    def hurry(self, recorder: SimRecorder) -> None:
        """Let a slow recorder send at the usual pace from now on."""
        self.air.set_pace(BYTES_PER_S, recorder.serial)

    def recordings(self, serial: str, *sizes: int) -> list[StoredRecording]:
        """Make recordings that a recorder of this scenario holds, or will hold."""
        made = [self._recording(size) for size in sizes]
        self.held |= {(serial, one.file_id): one for one in made}
        device = self.cloud.devices.by_serial(serial)
        self.made += [held_by(serial, one, device.end_user_id) for one in made]
        return made

    def _recording(self, size: int) -> StoredRecording:
        self._made += 1
        number = self._made
        data = (b"OggS" + noise(size, number))[:size]
        return StoredRecording(f"{number:08x}", FIRST_START + 60 * number, max(1, size // 4000), data)

    async def home(self, *, within: float = PATIENCE_S) -> None:
        """Wait until every recorder was allowed to delete everything; then look whether the cloud has it.

        Raises:
            ScenarioError: something did not come home, came twice, or came damaged.
        """
        try:
            async with asyncio.timeout(within):
                for recorder in self.on_air:
                    # And until the visit is over: a gateway that is stopped in it has not noted the next one.
                    await recorder.wait_until(lambda one=recorder: not one.recordings and not one.connected)  # type: ignore[misc]  # mypy infers no type for the default
        except TimeoutError:
            left = {one.serial: [each.file_id for each in one.recordings] for one in self.on_air if one.recordings}
            raise ScenarioError(f"after {within:g} s recorders still hold {left}") from None
        self.judge_cloud()

    def judge_cloud(self) -> None:
        """Every recording of the scenario is in the cloud once, bit-identical.

        Raises:
            ScenarioError: naming all that are not.
        """
        wrongs = []
        for (serial, file_id), stored in self.held.items():
            copies = [one for one in cloud_copies(self.cloud) if (one.serial, one.file_id) == (serial, file_id)]
            if len(copies) != 1:
                wrongs.append(f"{serial}/{file_id} is {len(copies)} times in the cloud")
            elif not copies[0].complete or copies[0].stored_sha256 != stored.sha256:
                wrongs.append(f"{serial}/{file_id} is in the cloud as {copies[0]}, should be {stored.sha256}")
        if wrongs:
            raise ScenarioError("; ".join(wrongs))

    async def clear(self) -> None:
        """Take the scenario's recorders off the air."""
        for recorder in self.on_air:
            await recorder.stop()
        self.on_air, self.held = [], {}
        self.mark = self.machine.journal.mark()


def _serial(number: int) -> str:
    return f"VM{number:06}"
