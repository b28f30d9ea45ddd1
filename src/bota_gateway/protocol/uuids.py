"""Names on the air: services, characteristics and what an advertisement carries (docs/protocol.md, "GATT table").

All UUIDs are lower-case strings in full length, as bleak reports them.
"""

from typing import Final

MANUFACTURER_ID: Final = 0xB07A
"""Company id in the manufacturer data; its two bytes on the air are ``7a b0``."""

NAME_PREFIX: Final = "Bota"
"""Every advertised name seen starts so; case matters. A name is a hint, never an identity."""


def _sig(short: int) -> str:
    return f"0000{short:04x}-0000-1000-8000-00805f9b34fb"


def _bota(service: int, characteristic: int = 0) -> str:
    return f"b07a{service:04x}-{characteristic:04x}-1000-8000-00805f9b34fb"


DEVICE_INFORMATION_SERVICE: Final = _sig(0x180A)
MODEL_NUMBER: Final = _sig(0x2A24)
SERIAL_NUMBER: Final = _sig(0x2A25)
FIRMWARE_REVISION: Final = _sig(0x2A26)
HARDWARE_REVISION: Final = _sig(0x2A27)
MANUFACTURER_NAME: Final = _sig(0x2A29)

BATTERY_SERVICE: Final = _sig(0x180F)
BATTERY_LEVEL: Final = _sig(0x2A19)

AUDIO_SERVICE: Final = _bota(1)

CONTROL_SERVICE: Final = _bota(2)
DEVICE_STATUS: Final = _bota(2, 1)
RECORDING_CONTROL: Final = _bota(2, 2)
RECORDING_STATUS: Final = _bota(2, 3)
TIME_SYNC: Final = _bota(2, 4)
DEVICE_COMMAND: Final = _bota(2, 5)

PROVISIONING_SERVICE: Final = _bota(3)
PAIRING_STATE: Final = _bota(3, 1)
DEVICE_TOKEN: Final = _bota(3, 2)
API_ENDPOINT: Final = _bota(3, 3)
PROVISIONING_RESULT: Final = _bota(3, 5)
DEVICE_SETTINGS: Final = _bota(3, 6)

STORAGE_SERVICE: Final = _bota(4)
STORAGE_INFO: Final = _bota(4, 1)
RECORDING_LIST: Final = _bota(4, 2)
RECORDING_TRANSFER: Final = _bota(4, 3)
TRANSFER_CONTROL: Final = _bota(4, 4)
TRANSFER_STATUS: Final = _bota(4, 5)
CAPABILITIES_V2: Final = _bota(4, 6)
SIGNED_BLOB_V2: Final = _bota(4, 7)
CONTROL_V2: Final = _bota(4, 8)
TRANSFER_V2: Final = _bota(4, 9)
STATUS_V2: Final = _bota(4, 0xA)
LIST_V2: Final = _bota(4, 0xB)
UPLOAD_CONTEXT_V2: Final = _bota(4, 0xC)

AUTH_SERVICE: Final = _bota(5)
DEVICE_PUBLIC_KEY: Final = _bota(5, 1)
SESSION_NONCE: Final = _bota(5, 2)
BACKEND_PUBLIC_KEY: Final = _bota(5, 3)

WIFI_SERVICE: Final = _bota(6)
"""Its presence says that the recorder has WiFi."""

DIAGNOSTICS_SERVICE: Final = _bota(7)
LOG_CONTROL: Final = _bota(7, 1)
LOG_DATA: Final = _bota(7, 2)

IDENTITY_SERVICE: Final = _bota(8)
IDENTITY_SERIAL: Final = _bota(8, 1)
"""The same serial as ``SERIAL_NUMBER``; on newer firmware only."""

BOTA_SERVICES: Final = frozenset(
    {
        AUDIO_SERVICE,
        CONTROL_SERVICE,
        PROVISIONING_SERVICE,
        STORAGE_SERVICE,
        AUTH_SERVICE,
        WIFI_SERVICE,
        DIAGNOSTICS_SERVICE,
        IDENTITY_SERVICE,
    }
)
"""Any of these in an advertisement makes its sender a candidate."""
