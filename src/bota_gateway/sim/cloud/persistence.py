"""The emulator's memory between lives: one JSON file beside the objects."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from bota_gateway.sim.cloud.objects import ObjectStore, StoredObject
from bota_gateway.sim.cloud.world import Device, EndUser, Key, Recording, World

FILE_NAME: Final = "state.json"


@dataclass(slots=True)
class Snapshot:
    """All that outlives the process."""

    home_key: str
    life: int
    keys: list[Key] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    end_users: list[EndUser] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    objects: list[StoredObject] = field(default_factory=list)


_SNAPSHOT: Final = TypeAdapter(Snapshot)


def save(directory: Path, world: World, objects: ObjectStore) -> None:
    """Writes the state; a reader sees the old one or the new one, never half of it."""
    snapshot = Snapshot(
        home_key=world.home_key,
        life=world.ids.life,
        keys=list(world.keys.values()),
        devices=list(world.devices.by_id.values()),
        end_users=list(world.end_users.values()),
        recordings=list(world.recordings.values()),
        objects=objects.all(),
    )
    temporary = directory / f"{FILE_NAME}.new"
    temporary.write_bytes(_SNAPSHOT.dump_json(snapshot, indent=1))
    temporary.replace(directory / FILE_NAME)


def load(directory: Path, world: World, objects: ObjectStore) -> bool:
    """Takes up an earlier life's state; False when there is none.

    Raises:
        pydantic.ValidationError: the file is none of ours.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return False
    snapshot = _SNAPSHOT.validate_json(path.read_bytes())
    world.ids.begin_life(snapshot.life + 1)
    world.keys |= {key.secret: key for key in snapshot.keys}
    if not world.key_was_chosen:
        world.home_key = snapshot.home_key
    world.devices.by_id = {device.id: device for device in snapshot.devices}
    world.end_users = {user.id: user for user in snapshot.end_users}
    world.recordings = {recording.id: recording for recording in snapshot.recordings}
    objects.restore(snapshot.objects)
    return True
