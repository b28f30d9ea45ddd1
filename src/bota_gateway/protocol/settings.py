"""Device settings (docs/protocol.md, "Device settings"). The gateway reads them and writes none by itself."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

VERSION: Final = 2
"""The version written; version 1 is its first eight bytes."""
ALWAYS_ON: Final = -1
LONGEST_IDLE_S: Final = 2540
DEFAULT_IDLE_S: Final = 180
DEFAULT_FLUSH_S: Final = 60
LONGEST_FLUSH_S: Final = 128
_VERSION_1_BYTES: Final = 8
_IDLE_ALWAYS: Final = 0xFF
_WIFI: Final = 0x01
_CELLULAR: Final = 0x02
_HEARTBEAT_EXPLICIT: Final = 0x80


class Radio(IntEnum):
    """A way to upload, in the order of preference."""

    WIFI = 1
    BLE = 2
    CELLULAR = 3


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """How a recorder uploads by itself."""

    version: int = VERSION
    wifi: bool = True
    cellular: bool = True
    preference: tuple[int, ...] = (Radio.WIFI, Radio.BLE, Radio.CELLULAR)
    """Best first, raw: firmware may know more radios."""
    cell_idle_s: int = DEFAULT_IDLE_S
    """Seconds, 0 = at once, ``ALWAYS_ON``; in steps of 10 on the wire."""
    wifi_idle_s: int = DEFAULT_IDLE_S
    streaming: bool = True
    flush_s: int = DEFAULT_FLUSH_S
    """0 = off."""
    hb_wifi: bool = True
    hb_cellular: bool = True


@dataclass(frozen=True, slots=True)
class UnsupportedSettings:
    """Settings of another version or too short: assume that all radios are on, in the usual order."""

    version: int | None
    wifi: bool = True
    cellular: bool = True
    preference: tuple[int, ...] = (Radio.WIFI, Radio.BLE, Radio.CELLULAR)


def decode_settings(value: bytes) -> DeviceSettings | UnsupportedSettings:
    """Decode a reading. Version 1, and what a short version 2 leaves out, get the documented defaults."""
    if len(value) < _VERSION_1_BYTES or value[0] not in (1, VERSION):
        return UnsupportedSettings(value[0] if value else None)
    newer = value[_VERSION_1_BYTES:] if value[0] == VERSION else b""
    heartbeat = newer[1] if len(newer) > 1 else 0
    explicit = bool(heartbeat & _HEARTBEAT_EXPLICIT)
    return DeviceSettings(
        version=value[0],
        wifi=bool(value[1] & _WIFI),
        cellular=bool(value[1] & _CELLULAR),
        preference=tuple(value[2:5].partition(b"\0")[0]),
        cell_idle_s=_decode_idle(value[5]),
        wifi_idle_s=_decode_idle(value[6]),
        streaming=value[7] != 0,
        flush_s=newer[0] if newer else DEFAULT_FLUSH_S,
        hb_wifi=bool(heartbeat & _WIFI) or not explicit,
        hb_cellular=bool(heartbeat & _CELLULAR) or not explicit,
    )


def encode_settings(settings: DeviceSettings) -> bytes:
    """The twelve bytes of version 2; the heartbeat is always explicit.

    Raises:
        ValueError: an idle time-out is not in -1..2540.
    """
    return bytes(
        (
            VERSION,
            _radios(wifi=settings.wifi, cellular=settings.cellular),
            *(*settings.preference, 0, 0, 0)[:3],
            _encode_idle(settings.cell_idle_s),
            _encode_idle(settings.wifi_idle_s),
            settings.streaming,
            min(max(settings.flush_s, 0), LONGEST_FLUSH_S),
            _HEARTBEAT_EXPLICIT | _radios(wifi=settings.hb_wifi, cellular=settings.hb_cellular),
            0,
            0,
        )
    )


def _radios(*, wifi: bool, cellular: bool) -> int:
    return wifi * _WIFI | cellular * _CELLULAR


def _decode_idle(value: int) -> int:
    return ALWAYS_ON if value == _IDLE_ALWAYS else value * 10


def _encode_idle(seconds: int) -> int:
    if not ALWAYS_ON <= seconds <= LONGEST_IDLE_S:
        raise ValueError(f"an idle time-out is -1 (always on) or 0 to {LONGEST_IDLE_S} s, not {seconds}")
    if seconds == ALWAYS_ON:
        return _IDLE_ALWAYS
    return max(1, seconds // 10) if seconds else 0
