"""What the cloud is told of a capture, and the keys that recognise it again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from bota_gateway.cloud import NewRecording
from bota_gateway.cloud.transport import USER_AGENT
from bota_gateway.model import Recording

CAPTURE_KEY: Final = "capture_key"
"""Name in ``metadata``: the only thing by which a recording can be found again after a lost answer."""


def capture_key(recording: Recording) -> str:
    """Deterministic from what was captured, so that it is the same even after a spool was lost.

    The start is not in it: a recorder that gets the time may list the same recording with another one.
    """
    parts = (recording.key.serial, recording.key.file_id, str(recording.sha256))
    return f"bg-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:40]}"


def idempotency_key(recording: Recording, body: Mapping[str, Any], used: int) -> str:
    """The key under which ``body`` is sent: letters, digits and ``-`` only, well below 255 characters.

    A key belongs to one body for ever, also across restarts: servers answer another body under it with a 409. What
    makes the body another one is a refusal in favour of an older contract, or an upgrade of the gateway.

    Args:
        recording: What is to be created.
        body: The request's body.
        used: How many keys were given up because a server may replay its refusal.
    """
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]
    return "-".join([capture_key(recording), digest, *([str(used)] if used else [])])


def new_recording(recording: Recording, *, hub_id: str, send_device_id: bool) -> NewRecording:
    """The facts of ``POST /recordings``; everything needed to recognise it, because nothing can be added later."""
    key, binding = recording.key, recording.binding
    return NewRecording(
        device_id=binding.device_id if send_device_id else None,
        end_user_id=str(binding.end_user_id),
        started_at=key.started_at,
        duration_s=recording.duration_s,
        metadata={
            CAPTURE_KEY: capture_key(recording),
            "serial_number": key.serial,
            "device_file_id": key.file_id,
            "started_at": key.started_at,
            "duration_seconds": recording.duration_s,
            "size_bytes": recording.size_bytes or 0,
            "sha256": str(recording.sha256),
            "gateway": USER_AGENT,
            "hub": hub_id,
        },
    )
