"""Logs that read as a story: one line per happening, for people on a terminal, for the journal, as JSON for machines.

Rooms log with ``structlog.get_logger()`` and an event name of the catalogue; this module decides how it looks.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from bota_gateway.config import LogSettings
from bota_gateway.model import WallClock
from bota_gateway.status import journal, words
from bota_gateway.status.catalogue import BY_NAME, LEVELS
from bota_gateway.status.redact import redact
from bota_gateway.status.repeats import ADDED, Repeats
from bota_gateway.status.story import OWN, Story, says

_MARKS = {"debug": " ", "info": " ", "warning": "!", "error": "✗"}
_TALKATIVE = ("httpx", "httpcore", "aiosqlite", "asyncio", "bleak", "bumble")
"""Libraries that log every request or packet, URLs included, below warning."""
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"


def configure(
    settings: LogSettings, stream: TextIO = sys.stderr, story: Story | None = None, now: WallClock = time.time
) -> None:
    """Set up structlog for the process, and bring warnings of libraries into the same story.

    Args:
        settings: Form and least level.
        stream: Where lines go.
        story: Takes note of each line, too.
        now: The wall clock, by which repeats are counted.
    """
    form = settings.format if settings.format != "auto" else _form_that_fits(stream)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *_prepared(form),
            redact_fields,
            *([story.count] if story else []),
            Repeats(now),
            *([story] if story else []),
            _renderer(form, stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=_logger_factory(form, stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_FromLibraries(logging.WARNING)]
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _form_that_fits(stream: TextIO) -> str:
    if stream.isatty():
        return "console"
    return "journal" if journal.is_behind(stream) else "json"


def _prepared(form: str) -> list[Any]:
    """Processors that come before the redaction."""
    match form:
        case "console":
            return [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp")]
        case "json":
            return [
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.ExceptionRenderer(
                    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
                ),
            ]
        case _:  # the journal has clocks of its own
            return []


def _renderer(form: str, stream: TextIO) -> Any:
    match form:
        case "console":
            return Console(stream.isatty() and not os.environ.get("NO_COLOR"))  # https://no-color.org
        case "json":
            return structlog.processors.JSONRenderer(serializer=words.json_text)
        case _:
            return as_journal_entry


def _logger_factory(form: str, stream: TextIO) -> Any:
    if form != "journal":
        return structlog.PrintLoggerFactory(stream)
    logger = journal.JournalLogger()
    return lambda *_args: logger


def redact_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Processor: no credential leaves through a log line, in whatever field it stands."""
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case dict():
            return {key: _redacted(item) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return redact(str(value))


class Console:
    """Renders an event as ``time recorder recording words``: aligned, short, the words from the catalogue."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _logger: object, _method: str, event: Mapping[str, Any]) -> str:
        """Processor: the last one, gives back the line."""
        level = str(event.get("level", "info"))
        line = _line(
            str(event.get("timestamp", "")),
            level,
            (event.get("recorder"), event.get("recording")),
            str(event["event"]),
            says(event),
            _fields(event),
        )
        line += _traceback(event)
        if self._colour and level in _COLOURS:
            return _COLOURS[level] + line + _RESET
        return line


def as_journal_entry(_logger: object, _method: str, event: Mapping[str, Any]) -> bytes:
    """Processor: the last one, gives back the entry: a line for people, and every field under its own name."""
    about = "/".join(str(event[key]) for key in ("recorder", "recording") if event.get(key) is not None)
    name, sentence = str(event["event"]), says(event)
    line = words.printable(f"{about}: {sentence}" if about else sentence) + _more(name, _fields(event))
    fields = {key: value for key, value in event.items() if key not in {"level", "exc_info"}}
    return journal.entry(line + _traceback(event), str(event.get("level", "info")), fields)


def _fields(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in OWN}


def _traceback(event: Mapping[str, Any]) -> str:
    error = event.get("exc_info")
    error = sys.exception() if error is True else error  # as ``log.exception`` says it
    return (
        "\n" + redact("".join(traceback.format_exception(error)).rstrip()) if isinstance(error, BaseException) else ""
    )


def told_line(happening: Mapping[str, Any], today: float) -> str:
    """A happening of the story as the console shows it; with its day, should that not be the day of ``today``."""
    return _line(
        words.clock_of_day(happening["at"], today),
        happening["level"],
        (happening["recorder"], happening["recording"]),
        happening["event"],
        happening["says"],
        happening["fields"],
    )


def _line(
    at: str, level: str, about: tuple[str | None, str | None], name: str, sentence: str, fields: Mapping[str, Any]
) -> str:
    """One line for people: ``time mark recorder recording  sentence  code``."""
    who = f"{about[0] or '':<10} {about[1] or '':<8}"
    return words.printable(f"{at} {_MARKS.get(level, ' ')} {who}  {sentence}{_more(name, fields)}".rstrip())


def _more(name: str, fields: Mapping[str, Any]) -> str:
    """What the sentence does not tell and a person needs: the code to look up. All fields where there is no sentence.

    The rest is for programs, and stands in the journal's fields, in JSON lines and in ``tail --json``.
    """
    known = BY_NAME.get(name)
    wanted = fields if known is None else {"code": fields.get("code")} if "code" not in known.fields_told else {}
    more = " ".join(f"{key}={value}" for key, value in wanted.items() if key not in ADDED and value is not None)
    return f"  {words.printable(more)}" if more else ""


class _FromLibraries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("library_warning", library=record.name, said=record.getMessage())
