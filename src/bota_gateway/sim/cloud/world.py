"""What the emulated cloud knows: keys, devices, end users, recordings. Plain values; no HTTP here."""

import string
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from random import Random
from typing import Any, Final, TypeVar

from bota_gateway.model import WallClock
from bota_gateway.sim.cloud.options import CloudOptions

HOME_PROJECT: Final = "proj_home"
ID_LENGTH: Final = 20
"""Letters and digits after the prefix; documents allow 1 to 64."""


@dataclass(slots=True)
class Key:
    """A credential. ``scopes`` None is a secret key: everything is allowed."""

    secret: str
    project: str = HOME_PROJECT
    scopes: frozenset[str] | None = None


@dataclass(slots=True)
class Device:
    """A registered recorder."""

    id: str
    project: str
    serial: str
    model: str
    created_at: float
    end_user_id: str | None = None
    binding_generation: int = 0
    name: str | None = None
    firmware_version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class EndUser:
    """Someone who wears recorders."""

    id: str
    project: str
    created_at: float
    external_id: str | None = None


@dataclass(slots=True)
class Upload:
    """One file of a recording: an upload URL was issued for it."""

    key: str
    content_type: str
    declared_size: int | None
    created_at: float
    media_id: str | None = None
    media_type: str = "audio"


class RecordingStatus(StrEnum):
    """As in docs/cloud-api.md, "What counts as stored"."""

    PENDING = "pending"
    UPLOADED = "uploaded"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    INTEGRITY_FAILURE = "integrity_failure"


UPLOADABLE: Final = frozenset({RecordingStatus.PENDING, RecordingStatus.INTEGRITY_FAILURE})
"""States in which an upload URL is given and a completion does something."""


@dataclass(slots=True)
class Recording:
    """A recording as the cloud has it."""

    id: str
    project: str
    end_user_id: str
    device_id: str | None
    created_at: float
    facts: dict[str, Any]
    """The fields of the create body that the cloud keeps: name, times, source, metadata and so on."""
    status: RecordingStatus = RecordingStatus.PENDING
    updated_at: float = 0.0
    uploads: list[Upload] = field(default_factory=list)
    declared_sha256: str | None = None
    """Digest of the completion under verification, or of the one that was accepted."""
    polls_left: int | None = None
    """Completions still to be answered 425; None when no verification runs."""
    failed_version: int | None = None
    """Version of the object that failed verification: the same one fails again at once."""
    size_bytes: int | None = None
    content_sha256: str | None = None
    verified_at: float | None = None
    uploaded_at: float | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the creator stored with it."""
        found = self.facts.get("metadata")
        return found if isinstance(found, dict) else {}


class Ids:
    """Makes identifiers and secrets; one seed gives the same ones in the same order."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.begin_life(0)

    def begin_life(self, life: int) -> None:
        """A restarted emulator must not make the ids of its earlier life again."""
        self.life = life
        self._random = Random(f"ids of {self._seed}, life {life}")

    def make(self, prefix: str, length: int = ID_LENGTH) -> str:
        """``prefix_`` and random letters and digits."""
        return f"{prefix}_{''.join(self._random.choices(string.ascii_letters + string.digits, k=length))}"


class Devices:
    """The project's recorders, as the operator's dashboard would handle them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.by_id: dict[str, Device] = {}

    def register(
        self,
        serial: str,
        end_user: str | None = "",
        *,
        model: str = "bota_pin",
        project: str = HOME_PROJECT,
        device_id: str | None = None,
    ) -> Device:
        """Registers a recorder and binds it; one that is known already is taken as it is.

        Args:
            serial: as the recorder tells it over the air.
            end_user: ``eu_`` id to bind to (made known if new); empty makes a new one; None leaves it unbound.
            model: product name.
            project: another project's recorder is a stranger to our key.
            device_id: ``dev_`` id; None makes one.
        """
        device = self.find(serial, project)
        if device is None:
            device = Device(
                id=device_id or self._world.ids.make("dev"),
                project=project,
                serial=serial,
                model=model,
                created_at=self._world.now(),
            )
            self.by_id[device.id] = device
        if end_user is not None and (device.end_user_id is None or end_user not in {"", device.end_user_id}):
            self.bind(serial, end_user, project=project)
        return device

    def bind(self, serial: str, end_user: str = "", *, project: str = HOME_PROJECT) -> Device:
        """Binds, or re-binds, a recorder: its binding generation rises.

        Raises:
            KeyError: no such recorder.
        """
        device = self.by_serial(serial, project)
        device.end_user_id = self._world.end_user(end_user, device.project).id
        device.binding_generation += 1
        return device

    def unbind(self, serial: str, *, project: str = HOME_PROJECT) -> Device:
        """Takes a recorder from its end user.

        Raises:
            KeyError: no such recorder.
        """
        device = self.by_serial(serial, project)
        device.end_user_id = None
        return device

    def find(self, serial: str, project: str = HOME_PROJECT) -> Device | None:
        """The project's recorder with this serial."""
        return next((device for device in self.of(project) if device.serial == serial), None)

    def by_serial(self, serial: str, project: str = HOME_PROJECT) -> Device:
        """The project's recorder with this serial.

        Raises:
            KeyError: no such recorder.
        """
        if (device := self.find(serial, project)) is None:
            raise KeyError(f"no device with serial {serial} is registered")
        return device

    def of(self, project: str) -> list[Device]:
        """A project's recorders, newest first."""
        return newest_first(device for device in self.by_id.values() if device.project == project)


class World:
    """All state of one emulated cloud that is not an object's bytes."""

    def __init__(self, options: CloudOptions, seed: int, now: WallClock) -> None:
        self.now = now
        self.ids = Ids(seed)
        self.devices = Devices(self)
        self.end_users: dict[str, EndUser] = {}
        self.recordings: dict[str, Recording] = {}
        self.keys: dict[str, Key] = {}
        self.key_was_chosen = options.api_key is not None
        self.home_key = options.api_key or self.ids.make("sk_test", 32)
        self.add_key(self.home_key)

    def add_key(self, secret: str, *, scopes: Collection[str] | None = None, project: str = HOME_PROJECT) -> Key:
        """Makes a credential known; with ``scopes`` it is a restricted key."""
        key = Key(secret, project, None if scopes is None else frozenset(scopes))
        self.keys[secret] = key
        return key

    def end_user(self, user_id: str, project: str) -> EndUser:
        """The end user with this id, made if need be; an empty id makes a new one."""
        if user_id not in self.end_users:
            user = EndUser(id=user_id or self.ids.make("eu"), project=project, created_at=self.now())
            self.end_users[user.id] = user
            return user
        return self.end_users[user_id]

    def recordings_of(self, project: str) -> list[Recording]:
        """A project's recordings, newest first."""
        return newest_first(recording for recording in self.recordings.values() if recording.project == project)

    def orphans(self) -> list[Recording]:
        """Recordings whose upload was never completed."""
        return [recording for recording in self.recordings.values() if recording.status in UPLOADABLE]


T = TypeVar("T", Device, Recording, EndUser)


def newest_first(items: Iterable[T]) -> list[T]:
    """By creation; of equal times the later one in comes first, as in a list the API gives."""
    return sorted(items, key=lambda item: item.created_at)[::-1]


def iso(at: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as the API writes times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
