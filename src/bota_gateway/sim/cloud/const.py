"""Numbers of the emulated cloud, each once, with its reason."""

from typing import Final

URL_LIFE_S: Final = 3600
"""Every generation of the documentation gives an upload URL one hour (docs/cloud-api.md, "Calls")."""

LONGEST_URL_LIFE_S: Final = 7 * 86_400
"""AWS refuses X-Amz-Expires above one week."""

CLOCK_SKEW_S: Final = 15 * 60
"""AWS accepts a signing time this far in the future; later it says "Request is not yet valid"."""

LARGEST_PUT_BYTES: Final = 5 * 1024**3
"""AWS's limit for a single PUT."""

READ_TIMEOUT_S: Final = 20.0
"""A body that stands still this long is answered RequestTimeout; AWS closes idle uploads after some 20 s."""

REQUESTS_PER_MINUTE: Final = 100
UPLOAD_URLS_PER_MINUTE: Final = 30
"""The strictest of the three published limits (docs/cloud-api.md, "Rate limits")."""
RATE_WINDOW_S: Final = 60.0

IDEMPOTENCY_LIFE_S: Final = 86_400.0
"""Both published versions keep a replayable answer for 24 hours."""

LARGEST_PAGE: Final = 100
"""The highest ``limit`` of every list."""

API_BODY_MAX_BYTES: Final = 256 * 1024
"""More than any documented body; a client that sends audio to the API by mistake gets 413."""

RELAY_MAX_BYTES: Final = 512 * 1024**2
"""For /upload-relay only; its real limit is unknown."""

SHUTDOWN_S: Final = 0.5
"""Requests still under way when the emulator stops get this long: tests start and stop many emulators."""
