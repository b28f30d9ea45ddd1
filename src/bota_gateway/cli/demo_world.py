"""The simulated side of the demo: recorders with speech on them, the air between, and a cloud on loopback."""

import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from bota_gateway.cli.demo_view import Row
from bota_gateway.config import CloudSettings, RadioSettings, Settings, SpoolSettings, StatusSettings, VisitSettings
from bota_gateway.radio import Adapter
from bota_gateway.radio.bumble_backend import backends
from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud
from bota_gateway.sim.options import RecorderOptions, StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.speech import long_recording, speeches
from bota_gateway.sim.virtual_radio import VirtualRadio

NAME = "Bota Pin"
"""All units advertise this one name (docs/protocol.md, "Advertising")."""
WRAP_BYTES = 1_200_000
WRAP_PAYLOAD = 15
"""A recording of this size in payloads of this size takes 80,000 packets: the 16-bit sequence number wraps once."""
FIRST_START = 1_790_000_000
"""When the first recording was made, September 2026; the others follow an hour apart."""


@dataclass(frozen=True)
class World:
    """Everything around the daemon."""

    directory: Path
    recorders: Sequence[SimRecorder]
    cloud: EmulatedCloud
    adapter: Adapter
    settings: Settings
    originals: dict[tuple[str, str], StoredRecording]
    """What the recorders hold at the start, by serial and file id."""

    @property
    def key(self) -> SecretStr:
        """The API key of the emulated cloud."""
        return SecretStr(self.cloud.api_key)

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, recorders: int, bytes_per_s: float, seed: int) -> AsyncIterator["World"]:
        """Put everything up on loopback and on the virtual radio; take it down at the end."""
        radio = VirtualRadio(bytes_per_s=bytes_per_s, seed=seed)
        async with AsyncExitStack() as stack:
            stack.callback(radio.close)
            cloud = await stack.enter_async_context(
                EmulatedCloud("e", seed=seed, options=CloudOptions(directory=directory / "cloud"))
            )
            originals: dict[tuple[str, str], StoredRecording] = {}
            pins: list[SimRecorder] = []
            for number, held in enumerate(_shares(recorders, seed), start=1):
                serial = f"BOTAPIN{number:03}"
                cloud.devices.register(serial, end_user=f"eu_wearer{number}")
                pin = SimRecorder(radio, serial=serial, recordings=held, options=RecorderOptions(name=NAME))
                await stack.enter_async_context(pin)
                pins.append(pin)
                originals |= {(serial, one.file_id): one for one in held}
            scanner, client = backends(await radio.adapter("hci0"))
            adapter = Adapter("hci0", scanner_backend=scanner, client_backend=client)
            yield cls(directory, pins, cloud, adapter, _settings(directory, cloud, recorders), originals)

    def rows(self) -> list[Row]:
        """One row for each recording, as its recorder knows it."""
        return [
            Row(
                serial=serial,
                file_id=file_id,
                seconds=one.duration_s,
                size_bytes=len(one.data),
                recorder_sha256=one.sha256,
            )
            for (serial, file_id), one in self.originals.items()
        ]

    def look_at_cloud(self, row: Row) -> None:
        """Fill in what the cloud and the recorder have of one row."""
        copies = [
            recording
            for recording in self.cloud.recordings.values()
            if str(recording.facts.get("metadata", {}).get("device_file_id")) == row.file_id
        ]
        row.copies_in_cloud = len(copies)
        for recording in copies:
            row.cloud_id = recording.id
            path = self.cloud.object_path(recording.id)
            row.bucket_sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path else None
        holder = next(pin for pin in self.recorders if pin.serial == row.serial)
        row.deleted = all(one.file_id != row.file_id for one in holder.recordings)


def _shares(recorders: int, seed: int) -> list[list[StoredRecording]]:
    """Deal the recordings out: seven of speech, and one that crosses the wrap of the sequence number."""
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    shares: list[list[StoredRecording]] = [[] for _ in range(recorders)]
    for number, speech in enumerate(speeches()):
        recording = StoredRecording(
            rng.randbytes(4).hex(), FIRST_START + 3600 * number, speech.duration_s, speech.read()
        )
        shares[number % recorders].append(recording)
    data, seconds = long_recording(WRAP_BYTES)
    shares[-1].append(
        StoredRecording(rng.randbytes(4).hex(), FIRST_START - 3600, seconds, data, payload_bytes=WRAP_PAYLOAD)
    )
    return shares


def _settings(directory: Path, cloud: EmulatedCloud, recorders: int) -> Settings:
    return Settings(
        cloud=CloudSettings(api_base=cloud.api_base, s3_hosts=(cloud.s3_host,), share=1.0),
        spool=SpoolSettings(directory=directory / "spool", min_free_bytes=0),
        radio=RadioSettings(max_links=max(3, recorders)),
        # All recordings come at once and their uploads queue for the rate limit: a link that waits for its verdicts
        # shows the whole job in one visit each, a second visit would come a minute later.
        visits=VisitSettings(linger_s=30),
        status=StatusSettings(socket=directory / "status.sock"),
    )
