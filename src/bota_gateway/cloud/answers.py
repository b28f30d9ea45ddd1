"""What the API's answers mean: lenient towards every contract generation, strict about what decisions rest on."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from bota_gateway.cloud.budget import RateHeaders
from bota_gateway.cloud.const import LONGEST_RETRY_AFTER_S, MAX_CURSOR_CHARS, MAX_HEADERS
from bota_gateway.cloud.hygiene import NO_CREDENTIAL, checked_id
from bota_gateway.cloud.transport import Answer
from bota_gateway.errors import CloudProtocolError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CODE: Final = re.compile(NO_CREDENTIAL + r"[A-Za-z0-9_.-]{1,64}")
_WORD: Final = re.compile(NO_CREDENTIAL + r"[A-Za-z0-9_-]{1,64}")
_HALF_LETTER: Final = re.compile(r"[\ud800-\udfff]")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1024}")
_OURS_TO_SET: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "authorization", "cookie", "expect", "te", "upgrade"}
)
"""Headers an upload-url answer may not dictate: they frame the message or carry credentials."""

KNOWN_FIELDS: Final = frozenset(
    {
        "recorded_at", "source", "upload_method", "started_at", "ended_at", "type", "content_type", "file_size_bytes",
        "content_sha256", "device_id", "end_user_id", "metadata",
    }
)  # fmt: skip
"""Request fields whose mention in a refusal tells which contract generation answers."""

_ALSO_ENGLISH: Final = frozenset({"type", "source", "metadata"})
"""Field names that are words too: "unsupported content type" is not about the field ``type``."""

_DEEPEST: Final = 4
"""How deep an error body is looked into; the documented shapes need two levels."""

_LARGEST_COUNT: Final = 2**63 - 1
"""No count of anything is larger; SQLite, which keeps some of them, holds none that is."""

_CLOUD_HAS_IT: Final = frozenset({"uploaded", "processing", "completed"})


@dataclass(frozen=True, slots=True)
class CloudRecording:
    """A recording as the cloud sees it. Fields that a generation does not have are None."""

    id: str
    status: str
    """pending, streaming, uploaded, processing, completed, failed, integrity_failure, or one not known yet."""
    device_id: str | None
    end_user_id: str | None
    metadata: Mapping[str, Any] = field(repr=False)
    created_at: float | None
    deleted: bool
    started_at: float | None
    duration_s: float | None
    size_bytes: int | None
    content_sha256: str | None
    sha256_verified: bool
    shape: frozenset[str] = field(repr=False)
    """Names of the fields in the answer: they tell the contract generation."""

    @property
    def has_audio(self) -> bool:
        """Whether the cloud accepted an upload of it; by itself no proof of its content."""
        return self.status in _CLOUD_HAS_IT

    def proves(self, sha256: str) -> bool:
        """Whether the cloud verified exactly these bytes."""
        return self.sha256_verified and self.content_sha256 == sha256


@dataclass(frozen=True, slots=True)
class CloudDevice:
    """A recorder as registered in the project."""

    id: str
    serial: str
    bound: bool
    end_user_id: str | None
    binding_generation: int | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class UploadTicket:
    """Where and how one PUT goes. Its repr hides the URL, which is a credential; never stored, never logged."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expires_at: float | None
    """Unix seconds by the server's clock, as the answer says; the URL itself says it too."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    rows: list[Mapping[str, Any]]
    has_more: bool
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error body says, reduced to what may be shown."""

    code: str | None
    fields: frozenset[str]


def parse_object(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of a successful answer.

    Raises:
        CloudProtocolError: It is none. What the request did is unknown.
    """
    value = _json(answer.body)
    if not isinstance(value, dict):
        raise CloudProtocolError(f"the answer ({answer.status}) is no JSON object", code="cloud_bad_answer")
    return value


def is_another_party(answer: Answer) -> bool:
    """Whether a refusal is a page or a plain text, as something on the way says it: the API refuses in JSON, or mutely.

    A captive portal, a proxy, or a load balancer whose API is just being replaced says 404 to everything.
    """
    return bool(answer.body) and answer.headers.get("Content-Type", "").lower().startswith("text/")


def parse_recording(row: Mapping[str, Any]) -> CloudRecording:
    """A recording of any generation.

    Raises:
        CloudProtocolError: ``id`` or ``status`` is missing.
    """
    metadata = row.get("metadata")
    sha256 = _text(row, "content_sha256")
    return CloudRecording(
        id=_identifier(row),
        status=_word(row, "status"),
        device_id=_text(row, "device_id"),
        end_user_id=_text(row, "end_user_id"),
        metadata=metadata if isinstance(metadata, dict) else {},
        created_at=_time(row.get("created_at")),
        deleted=row.get("deleted_at") is not None,
        started_at=_time(row.get("recorded_at", row.get("started_at"))),
        duration_s=_duration(row),
        size_bytes=_size(row),
        content_sha256=sha256.lower() if sha256 and _SHA256.fullmatch(sha256.lower()) else None,
        sha256_verified=_time(row.get("content_sha256_verified_at")) is not None,
        shape=frozenset(row),
    )


def parse_device(row: Mapping[str, Any]) -> CloudDevice:
    """A device of any generation.

    Raises:
        CloudProtocolError: ``id`` or ``serial_number`` is missing, or everything that tells whether it is bound; or its
            user's id is no identifier.
    """
    if not {"status", "end_user_id"} & row.keys():
        raise CloudProtocolError("the answer does not say whether the device is bound", code="cloud_bad_answer")
    user = checked_id(str(row["end_user_id"])) if row.get("end_user_id") else None
    return CloudDevice(
        id=_identifier(row),
        serial=_required(row, "serial_number"),
        bound=row.get("status") != "unbound" and user is not None,
        end_user_id=user,
        binding_generation=_count(row.get("binding_generation")),
        deleted=row.get("deleted_at") is not None,
    )


def parse_ticket(row: Mapping[str, Any], asked_type: str) -> UploadTicket:
    """An upload URL with the headers of its PUT: those of the answer, else its content type, else the one asked for.

    Raises:
        CloudProtocolError: There is no URL, or headers that no PUT may carry.
    """
    headers: dict[str, str] = {}
    given = row.get("headers")
    for name, value in given.items() if isinstance(given, dict) else ():
        if not isinstance(value, str) or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise CloudProtocolError("the upload-url answer has an unusable header", code="cloud_bad_answer")
        if name.lower() in {"authorization", "cookie"}:
            raise CloudProtocolError("the upload-url answer wants credentials sent to S3", code="cloud_bad_answer")
        if name.lower() not in _OURS_TO_SET:
            headers[name] = value
    if len(headers) > MAX_HEADERS:
        raise CloudProtocolError("the upload-url answer has too many headers", code="cloud_bad_answer")
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = _text(row, "content_type") or asked_type
    return UploadTicket(_required(row, "upload_url"), headers, _time(row.get("expires_at")))


def parse_page(row: Mapping[str, Any]) -> Page:
    """One page of a list.

    Raises:
        CloudProtocolError: It has no ``data`` list of objects, or an absurd cursor.
    """
    rows = row.get("data")
    if not isinstance(rows, list) or not all(isinstance(entry, dict) for entry in rows):
        raise CloudProtocolError("a list answer has no data", code="cloud_bad_answer")
    cursor = _text(row, "next_cursor")
    if cursor is not None and len(cursor) > MAX_CURSOR_CHARS:
        raise CloudProtocolError("a list answer has an oversized cursor", code="cloud_bad_answer")
    return Page(rows, row.get("has_more") is True, cursor or None)


def parse_refusal(answer: Answer) -> Refusal:
    """Code and named fields of an error body in any of its four shapes, or in none."""
    body = _json(answer.body)
    error = body.get("error", body) if isinstance(body, dict) else body
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    shown = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    return Refusal(shown, frozenset(name for name in KNOWN_FIELDS if _speaks_of(name, error)))


def parse_rates(answer: Answer, server_now: float) -> RateHeaders:
    """``X-RateLimit-*`` and ``Retry-After`` (seconds or a date); what can't be read counts as not said."""
    reset = _number(answer.headers.get("X-RateLimit-Reset"))
    return RateHeaders(
        limit=_count(answer.headers.get("X-RateLimit-Limit")),
        remaining=_count(answer.headers.get("X-RateLimit-Remaining")),
        reset_in_s=None if reset is None else reset - server_now,
        retry_after_s=parse_retry_after(answer, server_now),
    )


def parse_retry_after(answer: Answer, server_now: float) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date; never more than may be asked for (const.py)."""
    value = answer.headers.get("Retry-After")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - server_now)
        except (ValueError, OverflowError):
            return None
    return min(seconds, LONGEST_RETRY_AFTER_S)


def _json(body: bytes) -> object:
    """The value; None for what is no JSON, or says one thing twice, so that what it means depends on the reader.

    NaN and infinities, which are no JSON either, count as null: nothing rests on a field that can be one.
    """
    try:
        return json.loads(body, object_pairs_hook=_said_once, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _speaks_of(name: str, error: object, depth: int = 0) -> bool:
    """Whether an error names a request field: as a value of its own (``param``, ``details``), or in its message."""
    if isinstance(error, str):
        if name not in _ALSO_ENGLISH:
            return error == name or re.search(rf"\b{name}\b", error) is not None
        return re.search(rf"(?:^|[`'\"]|field ){name}(?:[`'\"]|$| is | field| must )", error) is not None
    if depth > _DEEPEST:
        return False
    if isinstance(error, dict):
        return any(_speaks_of(name, error[key], depth + 1) for key in error if key not in {"code", "type"})
    return isinstance(error, list) and any(_speaks_of(name, item, depth + 1) for item in error)


def _identifier(row: Mapping[str, Any]) -> str:
    return checked_id(_required(row, "id"))


def _required(row: Mapping[str, Any], name: str) -> str:
    value = _text(row, name)
    if not value:
        raise CloudProtocolError(f"the answer has no {name}", code="cloud_bad_answer")
    return value


def _word(row: Mapping[str, Any], name: str) -> str:
    """A short name such as a status: it stands in logs and in the spool."""
    value = _required(row, name)
    if not _WORD.fullmatch(value):
        raise CloudProtocolError(f"the answer's {name} is no word", code="cloud_bad_answer")
    return value


def _text(row: Mapping[str, Any], name: str) -> str | None:
    """A text; half of a surrogate pair is none, and can be written nowhere."""
    value = row.get(name)
    return value if isinstance(value, str) and not _HALF_LETTER.search(value) else None


def _time(value: object) -> float | None:
    """Unix seconds of an ISO 8601 time with zone."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def _count(value: object) -> int | None:
    """A whole number; byte counts may come as decimal strings."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _LARGEST_COUNT else None


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and re.fullmatch(r"\d{1,15}(\.\d{1,9})?", value.strip()) else None


def _duration(row: Mapping[str, Any]) -> float | None:
    seconds, millis = row.get("duration_seconds"), row.get("duration_ms")
    try:
        if isinstance(seconds, int | float):
            return float(seconds)
        return millis / 1000 if isinstance(millis, int | float) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _size(row: Mapping[str, Any]) -> int | None:
    """Bytes stored: on the recording, or on its only medium; of several, some are left-overs of repeated uploads."""
    media = row.get("media")
    if "file_size_bytes" in row or not isinstance(media, list):
        return _count(row.get("file_size_bytes"))
    only = media[0] if len(media) == 1 else None
    return _count(only.get("file_size_bytes")) if isinstance(only, dict) else None
