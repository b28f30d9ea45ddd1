"""What a simulated recorder holds and how it behaves where firmware differs or is unknown (docs/protocol.md)."""

import hashlib
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from bota_gateway.protocol.recording_list import ENCRYPTED_AT_REST, ListEntry, recording_id


class Advertises(StrEnum):
    """What the scan response carries beside the name in the advertisement."""

    CURRENT = "current"
    """Company id 0xB07A and the address."""
    LEGACY = "legacy"
    """Type, firmware version and pairing state, without company id."""
    NAME_ONLY = "name_only"


class ListForm(StrEnum):
    """How the list is framed; several notifications are used wherever one does not hold it all."""

    COUNTED = "counted"
    """A count of the whole list before the first entry."""
    COUNTED_EACH = "counted_each"
    """Every notification starts with the count of the whole list."""
    BARE = "bare"
    """Entries only."""
    SPLIT = "split"
    """One entry a notification, the count before the first."""


class EmptyList(StrEnum):
    """What an empty recorder sends when asked for its list."""

    ZERO = "zero"
    """One notification with the count 0."""
    SILENT = "silent"
    EMPTY_NOTIFICATION = "empty_notification"


class Sha(StrEnum):
    """The digest packet of a plain transfer."""

    NONE = "none"
    SHORT = "short"
    """33 bytes."""
    WITH_ID = "with_id"
    """49 bytes, with the recording's id."""
    OTHER_RECORDING = "other_recording"
    """49 bytes: digest and id of another recording, a known fault of some firmware."""
    WRONG = "wrong"
    """33 bytes: a digest that is not of what was sent."""
    LATE = "late"
    """33 bytes, more than the 200 ms after EOF that companions wait."""
    BEFORE_EOF = "before_eof"


class Group(StrEnum):
    """Characteristics that firmware may lack."""

    HARDWARE_REVISION = "hardware_revision"
    MODEL_NUMBER = "model_number"
    MANUFACTURER_NAME = "manufacturer_name"
    BATTERY = "battery"
    AUDIO = "audio"
    RECORDING_CONTROL = "recording_control"
    TIME_SYNC = "time_sync"
    DEVICE_COMMAND = "device_command"
    PROVISIONING = "provisioning"
    STORAGE_INFO = "storage_info"
    TRANSFER_STATUS = "transfer_status"
    AUTH = "auth"
    WIFI = "wifi"
    DIAGNOSTICS = "diagnostics"
    IDENTITY = "identity"


class ResultsOn(StrEnum):
    """Where ACK, NACK and ABORT count; elsewhere they are taken and ignored."""

    BOTH = "both"
    TRANSFER_CONTROL = "transfer_control"
    RECORDING_TRANSFER = "recording_transfer"


class DuringTransfer(StrEnum):
    """What LIST does while a transfer is open."""

    IGNORE = "ignore"
    ANSWER = "answer"
    ABORT = "abort"
    """The transfer ends with an error packet, then the list comes."""


@dataclass(frozen=True)
class StoredRecording:
    """One recording that a simulated recorder holds."""

    file_id: str
    """Four bytes as eight lower-case hex digits."""
    started_at: int
    """Unix seconds; 0 when the clock was not set."""
    duration_s: int
    data: bytes | memoryview = field(repr=False)
    encrypted_at_rest: bool = False
    p10: bool = False
    """Sent as chunks encrypted for the backend; here ``data`` stands for the ciphertext."""
    needs_v2: bool = False
    """Refused on version 1 with error 0x22."""
    payload_bytes: int | None = None
    """Payload of its DATA packets; None for the recorder's own choice."""

    @cached_property
    def sha256(self) -> str:
        """Lower-case hex digest of ``data``."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def crc32(self) -> int:
        """CRC-32 of ``data``."""
        return zlib.crc32(self.data)

    @property
    def recording_id(self) -> bytes:
        """The 16 bytes that START and CONFIRM carry."""
        return recording_id(self.file_id)

    @property
    def entry(self) -> ListEntry:
        """Its line in the list."""
        flags = ENCRYPTED_AT_REST if self.encrypted_at_rest else 0
        return ListEntry(self.file_id, flags, self.started_at, self.duration_s, -(-len(self.data) // 1024))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderOptions:
    """Choices of one recorder; the defaults are a recent Pin in good health."""

    name: str = "Bota Pin"
    """The same for every unit, as with real ones."""
    address: str | None = None
    """Random static address; None for one made from the serial."""
    advertises: Advertises = Advertises.CURRENT
    advertising_interval_s: float = 0.1
    advertise_again_after_s: float = 0.0
    """Pause between the end of a connection and the next advertisement."""
    att_mtu: int = 247
    """Largest ATT MTU it grants: 509 was seen on hardware, 23 is what a stack without the exchange has."""
    cuts_notifications: bool = False
    """Cuts what does not fit the MTU, such as a digest at an MTU of 23, instead of not sending it."""
    absent: frozenset[Group] = frozenset()
    requires_encryption: bool = False
    firmware: str = "1.0.18"
    hardware: str = "1.0"
    model: str = "BOTA_DEV"
    """What a real unit returned."""
    serial_padding: int = 0
    """NUL bytes after the serial."""
    clock: int | None = None
    """Unix seconds at the start; None: not set until the first time sync."""
    storage_total_mb: int = 4096
    status_length: int = 17
    """14, 15, 16 (half a millivolt field) or 17 bytes; more than 17 adds the modem text."""
    modem_info: dict[str, str] = field(default_factory=dict)
    list_form: ListForm = ListForm.COUNTED
    empty_list: EmptyList = EmptyList.ZERO
    list_during_transfer: DuringTransfer = DuringTransfer.IGNORE
    payload_bytes: int | None = None
    """Payload of each DATA packet; None for what the MTU allows."""
    start_delay_s: float = 0.0
    """Between START and the first packet, as of a slow card."""
    eof_sequence_zero: bool = False
    """EOF carries sequence 0 instead of the last one plus one."""
    sha: Sha = Sha.WITH_ID
    sha_late_s: float = 0.5
    results_on: ResultsOn = ResultsOn.BOTH
    restart_after_nack: bool = False
    deletion_delay_s: float = 0.0
    trigger_answer: int | None = 1
    """Answer to an upload trigger: 0 accepted, 1 no network, 2 busy, 3 no token; None: old firmware, silent."""
    capability: bytes | None = None
    """Value of the version 2 capability characteristic; None: it does not exist."""
    capability_ready_after_s: float = 0.0
    """Seconds from the start during which its flags read as 0: still initialising."""
