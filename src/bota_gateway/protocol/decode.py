"""Bytes to plain dictionaries, for ``bota-gateway decode``: the daemon's own decoders, said in JSON's words.

A key that has no name in brackets in ``docs/protocol.md``, "Decoding by hand", holds the raw number; its name, where a
table knows one, stands beside it under ``<key>_name``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from bota_gateway.protocol.advertising import CurrentAdvertisement, decode_advertising
from bota_gateway.protocol.capabilities import Capability, decode_capabilities
from bota_gateway.protocol.decode_transfer import decode_transfer, decode_transfer_packet
from bota_gateway.protocol.device_status import DeviceState, LteStatus, StatusFlag, WifiRadio, decode_device_status
from bota_gateway.protocol.diagnostics import EVENT_TYPES, REASONS, FaultEvent, decode_faults
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.fault_detail import STATES_BEFORE, SUBSYSTEMS
from bota_gateway.protocol.logs import LogAssembler
from bota_gateway.protocol.provisioning import RESULT_CODES as PROVISIONING_CODES
from bota_gateway.protocol.provisioning import decode_provisioning_result
from bota_gateway.protocol.recording_list import ListAssembler, ListEntry, recording_uuid
from bota_gateway.protocol.recording_status import RESULT_CODES as RECORDING_CODES
from bota_gateway.protocol.recording_status import RecordingResult, RecordingSnapshot, decode_recording_status
from bota_gateway.protocol.settings import DeviceSettings, Radio, decode_settings
from bota_gateway.protocol.storage_info import decode_storage_info
from bota_gateway.protocol.transfer_status import TRIGGER_CODES, decode_transfer_status

Answer = dict[str, object]

UNKNOWN: Final = "unknown"


def decode(kind: str, notifications: Sequence[bytes]) -> Answer:
    """Decode one value, or for a stream kind the notifications in order.

    Raises:
        DecodeError: the bytes are no ``kind``, or there is no such kind.
    """
    if kind in _STREAMS:
        return _STREAMS[kind](notifications)
    if kind not in _SINGLES:
        raise DecodeError("unknown_kind", f"no kind {kind!r}; there are: {', '.join(KINDS)}")
    if len(notifications) != 1:
        raise DecodeError("one_value", f"{kind} is one value, not {len(notifications)}")
    return _SINGLES[kind](notifications[0])


def _name(table: Mapping[int, str], code: int) -> str:
    return table.get(code, UNKNOWN)


def _advertising(value: bytes) -> Answer:
    told = decode_advertising(value)
    if isinstance(told, CurrentAdvertisement):
        company_id = int.from_bytes(value[:2], "little")
        return {
            "legacy": False,
            "company_id": company_id,
            "mac": told.mac.replace(":", ""),  # like all bytes in these answers; as people write it: mac_address
            "mac_address": told.mac,
            "extra": told.extra.hex() or None,
        }
    return {
        "legacy": True,
        "device_type": told.device_type,
        "model": told.model,
        "firmware": told.firmware,
        "pairing_state": told.pairing_state,
    }


def _device_status(value: bytes) -> Answer:
    status = decode_device_status(value)
    wifi_radio = status.wifi_radio
    return {
        "battery_percent": status.battery_percent,
        "lte_status": status.lte_status,
        "lte_status_name": _name(_names(LteStatus), status.lte_status),
        "state": status.state,
        "state_name": _name(_names(DeviceState), status.state),
        "pending_recordings": status.pending_recordings,
        "last_time_sync": status.last_time_sync,
        "flags_raw": status.flags,
        "flags": {flag.name.lower(): bool(status.flags & flag) for flag in StatusFlag if flag.name},
        "storage_total_mb": status.storage_total_mb,
        "storage_used_mb": status.storage_used_mb,
        "lte_csq": status.lte_csq,
        "wifi_radio": wifi_radio,
        "wifi_radio_name": None if wifi_radio is None else _name(_names(WifiRadio), wifi_radio),
        "battery_mv": status.battery_mv,
        "modem_info": status.modem_info,
    }


def _names(codes: type[DeviceState | LteStatus | WifiRadio | Radio]) -> dict[int, str]:
    return {code.value: code.name.lower() for code in codes}


def _storage_info(value: bytes) -> Answer:
    info = decode_storage_info(value)
    return {
        "total_kb": info.total_kb,
        "used_kb": info.used_kb,
        "total_recordings": info.total_recordings,
        "pending_sync": info.pending_sync,
    }


def _recording_list(notifications: Sequence[bytes]) -> Answer:
    assembler = ListAssembler()
    for notification in notifications:
        assembler.add(notification)
    answer: Answer = {
        "count_byte": assembler.count_byte,
        "entries": [_list_entry(entry) for entry in assembler.entries],
    }
    if assembler.duplicates or assembler.rubbish:
        answer |= {"duplicates": assembler.duplicates, "rubbish": assembler.rubbish}
    return answer


def _list_entry(entry: ListEntry) -> Answer:
    return {
        "file_id": entry.file_id,
        "uuid": recording_uuid(entry.file_id),
        "flags": entry.flags,
        "encrypted_at_rest": entry.encrypted_at_rest,
        "started_at": entry.started_at,
        "duration_s": entry.duration_s,
        "size_kib": entry.size_kib,
    }


def _transfer_status(value: bytes) -> Answer:
    status = decode_transfer_status(value)
    answer: Answer = {"kind": status.kind, "code": status.code}
    match status.kind:
        case "trigger":
            refusal = None if status.accepted else _name(TRIGGER_CODES, status.code or 0)
            return answer | {"accepted": status.accepted, "name": refusal}
        case "ota_ack":
            return answer | {"seq": status.seq}
        case "unknown":
            return answer | {"opcode": status.opcode}
        case _:
            return answer | {"accepted": status.accepted}


def _recording_status(value: bytes) -> Answer:
    status = decode_recording_status(value)
    if isinstance(status, RecordingSnapshot):
        uuid = None if status.recording_id is None else str(UUID(bytes=status.recording_id))
        return {"kind": "snapshot", "active": status.active, "initiated_by": status.initiated_by, "uuid": uuid}
    if isinstance(status, RecordingResult):
        return {
            "kind": "result",
            "active": status.active,
            "code": status.code,
            "success": status.code == 0,
            "name": _name(RECORDING_CODES, status.code) if status.code else None,
        }
    return {"kind": "short", "active": status.active, "code": None, "success": True, "name": None}


def _device_settings(value: bytes) -> Answer:
    settings = decode_settings(value)
    answer: Answer = {
        "supported": isinstance(settings, DeviceSettings),
        "version": settings.version,
        "wifi": settings.wifi,
        "cellular": settings.cellular,
        "preference": [_name(_names(Radio), code) for code in settings.preference],
        "preference_raw": list(settings.preference),
    }
    rest = ("cell_idle_s", "wifi_idle_s", "streaming", "flush_s", "hb_wifi", "hb_cellular")
    return answer | {key: getattr(settings, key, None) for key in rest}


def _provisioning_result(value: bytes) -> Answer:
    result = decode_provisioning_result(value)
    name = _name(PROVISIONING_CODES, result.code)
    return {"code": result.code, "name": name, "deleted_recordings": result.deleted_recordings}


def _device_logs(notifications: Sequence[bytes]) -> Answer:
    assembler = LogAssembler()
    lines = [line for notification in notifications for line in assembler.add(notification)]
    return {"lines": [{"text": line.text, "backlog": line.backlog} for line in lines], "gaps": assembler.gaps}


def _diagnostics(notifications: Sequence[bytes]) -> Answer:
    faults = decode_faults(notifications)
    return {"events": [_fault_event(event) for event in faults.events], "dropped_count": faults.dropped_count}


def _fault_event(event: FaultEvent) -> Answer:
    detail = event.detail
    answer: Answer = {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "event_type_name": _name(EVENT_TYPES, event.event_type),
        "reason": event.reason,
        "reason_name": _name(REASONS, event.reason),
        "uptime_ms": event.uptime_ms,
        "signature": event.signature,
    }
    return answer | {
        "firmware_build_id": None if detail is None else detail.build_id,
        "subsystem": None if detail is None else detail.subsystem,
        "subsystem_name": None if detail is None else _name(SUBSYSTEMS, detail.subsystem),
        "state_before": None if detail is None else detail.state_before,
        "state_before_name": None if detail is None else _name(STATES_BEFORE, detail.state_before),
    }


def _capabilities(value: bytes) -> Answer:
    document = decode_capabilities(value)
    return {
        "version": document.version,
        "profile_version": document.profile_version,
        "flags_raw": document.flags,
        "flags": {flag.name.lower(): bool(document.flags & flag) for flag in Capability if flag.name},
        "max_signed_blob": document.max_signed_blob,
        "max_manifest": document.max_manifest,
        "max_data_payload": document.max_data_payload,
        "max_window_packets": document.max_window_packets,
        "checkpoint_blocks": document.checkpoint_blocks,
        "max_missing": document.max_missing,
        "ready": document.ready,
    }


_SINGLES: Final[dict[str, Callable[[bytes], Answer]]] = {
    "advertising": _advertising,
    "device-status": _device_status,
    "storage-info": _storage_info,
    "transfer-packet": decode_transfer_packet,
    "transfer-status": _transfer_status,
    "recording-status": _recording_status,
    "device-settings": _device_settings,
    "provisioning-result": _provisioning_result,
    "capabilities-v2": _capabilities,
}

_STREAMS: Final[dict[str, Callable[[Sequence[bytes]], Answer]]] = {
    "recording-list": _recording_list,
    "transfer": decode_transfer,
    "device-logs": _device_logs,
    "diagnostics": _diagnostics,
}

KINDS: Final = tuple(sorted(_SINGLES | _STREAMS))
"""What ``decode`` takes as its first argument."""
