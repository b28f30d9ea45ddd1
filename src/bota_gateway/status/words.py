"""Numbers as people say them, and text that is safe to show. One way for logs, tables and the demo."""

import json
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bota_gateway.model import FIRST_SET

DOING = {
    "captured": "being created",
    "created": "being sent",
    "put": "being completed",
    "completing": "being verified",
}
"""What an upload does in each state of custody."""
MISSING = "-"
"""What is not known is a dash everywhere."""
_UNITS = ("B", "kB", "MB", "GB", "TB")
LONGEST_S = 10 * 365 * 86_400
"""Nothing waits on a hub for longer: a clock has leapt in between."""
_HALF_A_YEAR_S = 182 * 86_400
"""Within this a day without its year is not mistaken; ``ls -l`` does the same."""


def size(count: float | None) -> str:
    """Bytes in decimal units, three significant digits: 14.4 MB."""
    if count is None:
        return MISSING
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError(unit)


def rate(bytes_per_s: float | None) -> str:
    """Goodput: 61.0 kB/s."""
    return MISSING if bytes_per_s is None else f"{size(bytes_per_s)}/s"


def duration(seconds: float | None) -> str:
    """A span as a person says it: 8 s, 4 min, 3 h 10 min, 2 d 4 h."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def age(at: float, now: float) -> str:
    """How long ago that was; 'unknown age' where one of both clocks was not set, or the span is no hub's."""
    seconds = passed(at, now)
    return "unknown age" if seconds is None else duration(seconds)


def passed(at: float | None, now: float) -> float | None:
    """Seconds since then by the wall clock; None where one of both times is of a clock that was not set."""
    if at is None or min(at, now) < FIRST_SET or now - at > LONGEST_S:
        return None
    return max(0.0, now - at)


def clock(at: float | None) -> str:
    """Local date and time of a Unix time; 'unknown' for what a clock says that was not set, 0 above all."""
    if at is None:
        return MISSING
    if at < FIRST_SET:
        return "unknown"
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment(at: float | None, now: float) -> str:
    """As `clock` but short, for tables: day and minute, or the whole date when that is more than half a year away."""
    if at is None or at < FIRST_SET:
        return clock(at)
    form = "%m-%d %H:%M" if abs(now - at) < _HALF_A_YEAR_S else "%Y-%m-%d"
    return datetime.fromtimestamp(at, UTC).astimezone().strftime(form)


def clock_of_day(at: float, now: float) -> str:
    """Local time of day, for lines of a log; with the day where that is another one than today's."""
    then, today = (datetime.fromtimestamp(one, UTC).astimezone() for one in (at, now))
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%m-%d %H:%M:%S")


def minute(at: float, now: float) -> str:
    """Local hour and minute; with the day where that is another one than today's."""
    return clock_of_day(at, now).rpartition(":")[0]


def printable(text: object) -> str:
    """The text without control characters: what a recorder sends must not move a technician's cursor."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def json_text(value: object, **options: Any) -> str:
    """JSON for people, too: letters as they are, but nothing that could move the cursor or turn the direction."""
    text = json.dumps(value, ensure_ascii=False, **options)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text)


class _Words(string.Formatter):
    """``str.format`` with the units above as format specs; a field that is missing reads as a dash."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ARG002 - theirs
        return kwargs.get(str(key))

    def format_field(self, value: Any, format_spec: str) -> str:
        match format_spec:
            case "size":
                return size(value)
            case "rate":
                return rate(value)
            case "duration":
                return duration(value)
            case "clock":
                return clock(value)
            case _:
                return MISSING if value is None else format(value, format_spec)


def sentence(template: str, fields: Mapping[str, object]) -> str:
    """Fill a template such as ``"received {size_bytes:size} at {bytes_per_s:rate}"``."""
    return _Words().vformat(template, (), fields)
