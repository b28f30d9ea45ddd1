"""One API call without HTTP: what a route is given and what it answers."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated call."""

    project: str
    params: Mapping[str, str] = field(default_factory=dict)
    """From the path."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: JsonObject = field(default_factory=dict)
    """Empty when the request had none."""
    raw: bytes = b""
    """The body as it came, for the relay."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says; ``body`` None is an answer without content."""

    status: int
    body: JsonObject | None = None


class ApiError(Exception):
    """An answer that says no. ``field`` names what was wrong with the request."""

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.field = field


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint of the API."""

    method: str
    template: str
    scope: str
    handler: Handler
    upload_url: bool = False
    """Counts in the bucket of upload URLs as well."""
    idempotent_by_key: bool = False
    """Honours ``Idempotency-Key``."""
    raw_body: bool = False
    """The body is not JSON."""

    @property
    def name(self) -> str:
        """As fault rules and counters write it."""
        return f"{self.method} {self.template}"


class Fields:
    """Reads a JSON body field by field; whatever is wrong raises the validation error that names it."""

    def __init__(self, body: JsonObject, *, status: int) -> None:
        self._body = body
        self._status = status
        self._known: set[str] = set()

    def invalid(self, name: str, reason: str) -> ApiError:
        """The validation error for a field."""
        return ApiError(self._status, "invalid_request", f"{name} {reason}", field=name)

    def text(self, name: str, *, required: bool = False, pattern: str | None = None) -> str | None:
        """A string, or None when it is absent or null."""
        value = self._take(name, required)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise self.invalid(name, "must be a non-empty string")
        if pattern is not None and not re.fullmatch(pattern, value):
            raise self.invalid(name, f"must match {pattern}")
        return value

    def required_text(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name, required=True)
        if value is None:
            raise self.invalid(name, "is required")
        return value

    def choice(self, name: str, allowed: frozenset[str], *, required: bool = False) -> str | None:
        """One of a few words."""
        value = self.text(name, required=required)
        if value is not None and value not in allowed:
            raise self.invalid(name, f"must be one of {', '.join(sorted(allowed))}")
        return value

    def integer(self, name: str, *, least: int = 0) -> int | None:
        """A whole number."""
        value = self._take(name, required=False)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.invalid(name, f"must be an integer of at least {least}")
        return value

    def time(self, name: str) -> str | None:
        """An ISO 8601 time with zone."""
        value = self.text(name)
        if value is None:
            return None
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError as error:
            raise self.invalid(name, "must be an ISO 8601 timestamp") from error
        if parsed.tzinfo is None:
            raise self.invalid(name, "must carry a time zone")
        return value

    def mapping(self, name: str) -> JsonObject | None:
        """A JSON object."""
        value = self._take(name, required=False)
        if value is not None and not isinstance(value, dict):
            raise self.invalid(name, "must be an object")
        return value

    def refuse_unknown(self) -> None:
        """For a server that is strict about fields it does not know."""
        if unknown := sorted(self._body.keys() - self._known):
            raise self.invalid(unknown[0], "is not a known field")

    def _take(self, name: str, required: bool) -> Any:
        self._known.add(name)
        value = self._body.get(name)
        if value is None and required:
            raise self.invalid(name, "is required")
        return value
