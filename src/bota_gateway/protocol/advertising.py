"""What an advertisement says (docs/protocol.md, "Advertising"). Nothing in it identifies a recorder."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.uuids import BOTA_SERVICES, MANUFACTURER_ID, NAME_PREFIX

Model = Literal["pin", "pin_4g", "note"]

_COMPANY: Final = MANUFACTURER_ID.to_bytes(2, "little")
_MAC_BYTES: Final = 6
_LEGACY_TYPES: Final[dict[int, Model]] = {1: "pin", 2: "pin_4g", 3: "note"}
_LEGACY_LENGTHS: Final = (4, 5)
_PAIRING_STATES: Final = range(4)


@dataclass(frozen=True, slots=True)
class CurrentAdvertisement:
    """Manufacturer data as current firmware sends it."""

    mac: str
    """As it is printed on the recorder: six lower-case hex pairs with colons."""
    extra: bytes
    """What follows; its meaning is unknown."""


@dataclass(frozen=True, slots=True)
class LegacyAdvertisement:
    """Manufacturer data of old firmware, which carries no company id."""

    device_type: int
    model: Model
    firmware: str
    pairing_state: int


def is_candidate(*, name: str | None, manufacturer_data: Mapping[int, bytes], service_uuids: Collection[str]) -> bool:
    """Whether to look closer: by company id, by a Bota service, or by the name. Only the serial then proves it.

    ``service_uuids`` are lower-case.
    """
    return (
        MANUFACTURER_ID in manufacturer_data
        or not BOTA_SERVICES.isdisjoint(service_uuids)
        or (name is not None and name.startswith(NAME_PREFIX))
    )


def decode_manufacturer_data(
    manufacturer_data: Mapping[int, bytes],
) -> CurrentAdvertisement | LegacyAdvertisement | None:
    """The same, as bleak hands it over: the first two bytes split off as company id. None when nothing is Bota's.

    The legacy format has no company id, so its first two bytes are put back.
    """
    if MANUFACTURER_ID in manufacturer_data:
        manufacturer_data = {MANUFACTURER_ID: manufacturer_data[MANUFACTURER_ID]}
    for company, rest in manufacturer_data.items():
        try:
            return decode_advertising(company.to_bytes(2, "little") + rest)
        except DecodeError:
            continue
    return None


def decode_advertising(payload: bytes) -> CurrentAdvertisement | LegacyAdvertisement:
    """Decode the raw payload of AD type 0xFF.

    Raises:
        DecodeError: ``not_bota``.
    """
    if payload.startswith(_COMPANY):
        if len(payload) < len(_COMPANY) + _MAC_BYTES:
            raise DecodeError("not_bota", f"company id 0x{MANUFACTURER_ID:04x}, but no address of six bytes after it")
        return CurrentAdvertisement(payload[2:8].hex(":"), payload[8:])
    if not _looks_legacy(payload):
        raise DecodeError("not_bota", f"neither company id 0x{MANUFACTURER_ID:04x} nor the legacy format")
    device_type, major, minor, pairing_state = payload[:4]
    model = _LEGACY_TYPES.get(device_type, "pin")
    return LegacyAdvertisement(device_type, model, f"{major}.{minor}.0", pairing_state)


def _looks_legacy(payload: bytes) -> bool:
    """The format has no mark of its own, so a type not in the table must at least fit in length and pairing state."""
    if len(payload) < min(_LEGACY_LENGTHS):
        return False
    return payload[0] in _LEGACY_TYPES or (len(payload) in _LEGACY_LENGTHS and payload[3] in _PAIRING_STATES)


def encode_advertising(mac: str, extra: bytes = b"") -> bytes:
    """The current format, company id included; ``mac`` with colons."""
    return _COMPANY + bytes.fromhex(mac.replace(":", "")) + extra


def encode_legacy_advertising(device_type: int, major: int, minor: int, pairing_state: int) -> bytes:
    """The legacy format, in its shortest form."""
    return bytes((device_type, major, minor, pairing_state))
