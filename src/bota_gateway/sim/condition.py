"""What a simulated recorder's status tells: battery, radios, clock (docs/protocol.md, "Device status")."""

import asyncio
from dataclasses import dataclass, field

from bota_gateway.protocol.device_status import (
    DeviceState,
    DeviceStatus,
    LteStatus,
    StatusFlag,
    WifiRadio,
    encode_device_status,
)

_NO_FLAGS = StatusFlag(0)


@dataclass(slots=True)
class Condition:
    """The state of the recorder's body; set it at any time."""

    battery_percent: int = 80
    battery_mv: int = 3900
    state: int = DeviceState.IDLE
    flags: StatusFlag = _NO_FLAGS
    lte_status: int = LteStatus.OFF
    lte_csq: int | None = None
    wifi_radio: int = WifiRadio.OFF
    pending_hidden: int = 0
    """Recordings that count as pending although the list does not show them."""
    modem_info: dict[str, str] = field(default_factory=dict)

    @property
    def sync_active(self) -> bool:
        """The recorder owns an upload of its own."""
        return StatusFlag.SYNC_ACTIVE in self.flags

    @sync_active.setter
    def sync_active(self, active: bool) -> None:
        self.flags = self.flags | StatusFlag.SYNC_ACTIVE if active else self.flags & ~StatusFlag.SYNC_ACTIVE


@dataclass(slots=True)
class Clock:
    """A recorder's clock, which forgets the time with its battery and runs on the event loop's time otherwise."""

    unix: float | None = None
    """Time when it was set; None: it never was."""
    last_sync: int = 0
    """Unix seconds of the last time sync; 0 for never."""
    offset_minutes: int = 0
    _set_at: float = 0.0

    def set(self, unix: float, offset_minutes: int) -> None:
        """A time sync arrives."""
        self.unix = unix
        self.last_sync = int(unix)
        self.offset_minutes = offset_minutes
        self._set_at = asyncio.get_running_loop().time()

    def now(self) -> int:
        """Unix seconds; 0 while it is not set."""
        if self.unix is None:
            return 0
        return int(self.unix + asyncio.get_running_loop().time() - self._set_at)


def status_value(
    condition: Condition, *, length: int, pending: int, last_sync: int, used_mb: int, total_mb: int
) -> bytes:
    """Encodes the status in one of its lengths: 14, 15, 16 or 17 bytes, or more for one with the modem text."""
    value = encode_device_status(
        DeviceStatus(
            battery_percent=condition.battery_percent,
            lte_status=condition.lte_status,
            state=condition.state,
            pending_recordings=pending + condition.pending_hidden,
            last_time_sync=last_sync,
            flags=condition.flags,
            storage_total_mb=total_mb,
            storage_used_mb=used_mb,
            lte_csq=condition.lte_csq,
            wifi_radio=condition.wifi_radio,
            battery_mv=condition.battery_mv,
            modem_info=condition.modem_info if length > 17 else None,
        )
    )
    return value if length > 17 else value[:length]
