"""How one emulated cloud behaves when no fault is commanded."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from bota_gateway.sim.cloud import const


class ApiProfile(StrEnum):
    """Generation of the API's contract (docs/cloud-api.md, "Profiles")."""

    D1 = "d1"
    D2 = "d2"
    E = "e"


class ErrorVariant(StrEnum):
    """The shapes of error bodies that have been seen (docs/cloud-api.md, "Calls")."""

    CODE_DETAILS = "A"
    CODE_PARAM = "B"
    TYPE = "C"
    STRING = "D"
    MESSAGE = "D-message"


class IdempotencyMode(StrEnum):
    """What the server makes of an ``Idempotency-Key``."""

    STRICT = "strict"
    """The first answer is replayed; another body under the same key is a 409. The older page's promise."""
    DELAYED = "delayed"
    """Answers are remembered some time after the call and bodies are not compared. What the vendor admits today."""
    NONE = "none"


class Paging(StrEnum):
    """How a list is walked."""

    OFFSET = "offset"
    CURSOR = "cursor"
    STUCK = "stuck"
    """``has_more`` is true and every page is the first one: neither offset nor cursor advances."""


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """Everything that can be chosen at start; None stands for "as the profile has it"."""

    api_key: str | None = None
    """Secret key of the project; None makes one from the seed."""
    api_port: int = 0
    s3_port: int = 0
    """0 lets the system choose; fix both when a restarted emulator must keep its addresses."""
    directory: Path | None = None
    """Keeps state and objects across restarts; None uses a directory that goes away with the emulator."""

    error_variant: ErrorVariant = ErrorVariant.CODE_DETAILS
    validation_status: Literal[400, 422] = 400
    unknown_fields: Literal["ignore", "refuse"] = "ignore"
    device_paging: Paging | None = None
    recording_paging: Paging | None = None

    requests_per_minute: int | None = const.REQUESTS_PER_MINUTE
    """None: no limit and no headers."""
    upload_urls_per_minute: int | None = const.UPLOAD_URLS_PER_MINUTE
    rate_window: Literal["fixed", "sliding"] = "fixed"
    rate_retry_after: bool = False
    """Whether a 429 carries Retry-After; unknown of the real service."""

    idempotency: IdempotencyMode | None = None
    idempotency_delay_s: float = 5.0
    """DELAYED: age at which an answer becomes replayable."""

    url_life_s: int = const.URL_LIFE_S
    upload_headers: bool | None = None
    """Whether upload-url's answer has a ``headers`` map; D1 and D2 have one, E does not."""
    content_type_answers: dict[str, str] = field(default_factory=dict)
    """Content types the server normalises: requested -> signed and returned."""
    sign_length: bool = False
    """Sign the declared file_size_bytes as Content-Length; how the service enforces the size is unknown."""
    bucket: str = "bota-uploads"
    region: str = "us-east-1"
    largest_put_bytes: int = const.LARGEST_PUT_BYTES

    verification_polls: int = 1
    """E: completions answered 425 before the verdict."""
    repeat_of_d1: Literal[200, 400] = 200
    """D1 leaves a repeated completion undefined."""
    size_on_repeat_conflicts: bool = True
    """E: a repeat that carries file_size_bytes is a 409, as seen live (the stored size came back as a string)."""

    processing_after_s: float | None = None
    completed_after_s: float | None = None
    """Seconds after the upload at which the status moves on; None: it stays ``uploaded``."""
    processing_fails: bool = False
