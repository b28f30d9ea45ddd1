"""Device status (docs/protocol.md, "Device status")."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

from bota_gateway.protocol.errors import require

SHORTEST: Final = 14
_FIXED: Final = struct.Struct("<BBBBIBHHB")
CSQ_UNKNOWN: Final = frozenset({99, 255})


class DeviceState(IntEnum):
    """What the recorder is doing."""

    IDLE = 0
    RECORDING = 1
    SYNCING = 2
    UPLOADING = 3
    CHARGING = 4
    LOW_BATTERY = 5
    STORAGE_FULL = 6
    ERROR = 7


class LteStatus(IntEnum):
    """Its cellular modem."""

    OFF = 0
    SEARCHING = 1
    REGISTERED = 2
    CONNECTED = 3
    DENIED = 4
    NO_SIM = 5
    ERROR = 6
    LOW_VOLTAGE = 7
    DISABLED = 8


class WifiRadio(IntEnum):
    """Its WiFi radio."""

    OFF = 0
    SCANNING = 1
    CONNECTING = 2
    CONNECTED = 3
    CONNECT_FAILED = 4
    NO_CREDENTIALS = 5
    DISABLED = 6
    ERROR = 7


class StatusFlag(IntFlag):
    """Bits of the flags byte; others are unknown and kept."""

    CHARGING = 0x01
    LOW_BATTERY = 0x02
    STORAGE_FULL = 0x04
    WIFI_CONNECTED = 0x08
    LTE_CONNECTED = 0x10
    SYNC_ACTIVE = 0x20


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One reading. Codes are kept raw: firmware may know more than the tables."""

    battery_percent: int
    lte_status: int
    state: int
    pending_recordings: int
    """One byte on the wire; what it does above 255 is unknown."""
    last_time_sync: int
    """Unix seconds of the last clock sync; 0 = never. Not the time of an upload."""
    flags: int
    storage_total_mb: int
    storage_used_mb: int
    lte_csq: int | None
    """0-31; None when the modem does not know."""
    wifi_radio: int | None = None
    battery_mv: int | None = None
    modem_info: dict[str, str] | None = field(default=None)
    """``KEY=value`` lines by lower-case key, only the known keys; None when there are none."""

    @property
    def charging(self) -> bool:
        """On the charger."""
        return bool(self.flags & StatusFlag.CHARGING)

    @property
    def sync_active(self) -> bool:
        """The recorder itself owns an upload right now: leave its recordings to it."""
        return bool(self.flags & StatusFlag.SYNC_ACTIVE)

    @property
    def recording_now(self) -> bool:
        """It is recording."""
        return self.state == DeviceState.RECORDING


MODEM_KEYS: Final = frozenset({"IMEI", "ICCID", "OP", "RAT", "BAND", "APN", "SIM", "CSQ", "IP", "MV", "FW", "ROAM"})


def decode_device_status(value: bytes) -> DeviceStatus:
    """Decode a reading or notification: 14 bytes, or more when firmware is newer.

    An older layout put the modem text at byte 14; nothing on the wire tells it apart.

    Raises:
        DecodeError: ``too_short``.
    """
    require(value, SHORTEST, "device status")
    battery, lte, state, pending, synced, flags, total, used, csq = _FIXED.unpack_from(value)
    millivolts = int.from_bytes(value[15:17], "little") if len(value) >= 17 else 0
    return DeviceStatus(
        battery_percent=battery,
        lte_status=lte,
        state=state,
        pending_recordings=pending,
        last_time_sync=synced,
        flags=flags,
        storage_total_mb=total,
        storage_used_mb=used,
        lte_csq=None if csq in CSQ_UNKNOWN else csq,
        wifi_radio=value[14] if len(value) >= 15 else None,
        battery_mv=millivolts or None,
        modem_info=_decode_modem_info(value[17:]) if len(value) > 17 else None,
    )


def encode_device_status(status: DeviceStatus) -> bytes:
    """The shortest form that holds what is given."""
    fixed = _FIXED.pack(
        status.battery_percent,
        status.lte_status,
        status.state,
        min(status.pending_recordings, 0xFF),
        status.last_time_sync,
        status.flags,
        min(status.storage_total_mb, 0xFFFF),
        min(status.storage_used_mb, 0xFFFF),
        0xFF if status.lte_csq is None else status.lte_csq,
    )
    if status.wifi_radio is None:
        return fixed
    if status.battery_mv is None and status.modem_info is None:
        return fixed + bytes((status.wifi_radio,))
    head = fixed + bytes((status.wifi_radio,)) + (status.battery_mv or 0).to_bytes(2, "little")
    return head + _encode_modem_info(status.modem_info)


def _decode_modem_info(text: bytes) -> dict[str, str] | None:
    lines = text.replace(b"\0", b"").decode("utf-8", errors="replace").split("\n")
    pairs = (line.partition("=") for line in lines)
    stripped = ((key.strip(), value.strip()) for key, _, value in pairs)
    info = {key.lower(): value for key, value in stripped if key in MODEM_KEYS and value}
    if not _positive(info.get("mv", "1")):
        del info["mv"]
    return info or None


def _positive(text: str) -> bool:
    return text.isdecimal() and text.strip("0") != ""


def _encode_modem_info(info: dict[str, str] | None) -> bytes:
    return "\n".join(f"{key.upper()}={value}" for key, value in (info or {}).items()).encode()
