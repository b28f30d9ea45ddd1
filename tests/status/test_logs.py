import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from bota_gateway.config import LogSettings
from bota_gateway.status import logs
from bota_gateway.status.redact import redact

KEY = "sk_live_51Habcdefghijk"
URL = (
    "https://bota-uploads.s3.amazonaws.com/p/r/f?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAEXAMPLE%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0123abcdef4567"
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = structlog.get_config()
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield io.StringIO()
    structlog.configure(**before)
    root.handlers = handlers


def test_json_lines_hold_event_level_time_and_fields(stream: io.StringIO) -> None:
    """Machines get one JSON object a line."""
    logs.configure(LogSettings(format="json"), stream)
    structlog.get_logger().info("recording_captured", recorder="A1", size_bytes=3)
    told = json.loads(stream.getvalue())
    assert (told["event"], told["level"], told["recorder"], told["size_bytes"]) == (
        "recording_captured",
        "info",
        "A1",
        3,
    )
    assert told["timestamp"].endswith("Z")


def test_console_lines_read_as_a_story(stream: io.StringIO) -> None:
    """People get time, recorder, recording and words."""
    logs.configure(LogSettings(format="console"), stream)
    with structlog.contextvars.bound_contextvars(recorder="BOTA000001", recording="a1b2c3d4"):
        structlog.get_logger().info("made_up_event", size_bytes=3)
    line = stream.getvalue()
    assert "BOTA000001 a1b2c3d4  made up event  size_bytes=3" in line


@pytest.mark.parametrize(("said", "coloured"), [("", True), ("1", False)])
def test_the_environment_may_refuse_colour(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, said: str, coloured: bool
) -> None:
    """NO_COLOR counts on a terminal, too; where it is empty nobody said anything."""
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", said)
    logs.configure(LogSettings(format="console"), stream)
    structlog.get_logger().error("made_up_event")
    assert ("\x1b[31m" in stream.getvalue()) is coloured


def test_what_a_recorder_sends_can_not_move_the_cursor(stream: io.StringIO) -> None:
    """Control characters in a serial or name are made visible."""
    logs.configure(LogSettings(format="console"), stream)
    structlog.get_logger().info("made_up_event", recorder="\x1b[2J\r\n", name="a\nb")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_credential_leaves_through_a_log_line(stream: io.StringIO, form: str) -> None:
    """Keys, tokens and signatures are redacted wherever they slipped in, tracebacks included."""
    logs.configure(LogSettings.model_validate({"format": form}), stream)
    log = structlog.get_logger()
    log.warning(
        "made_up_event",
        reason=f"PUT {URL} failed",
        headers={"Authorization": f"Bearer {KEY}"},
        nested=[{"token": "dtok_abcdefghijkl"}],
    )
    try:
        raise RuntimeError(f"call with {KEY} to {URL}")  # noqa: TRY301 - the traceback is the point
    except RuntimeError:
        log.exception("made_up_event")
    text = stream.getvalue()
    assert "RuntimeError" in text
    assert "test_no_credential_leaves" in text
    assert KEY not in text
    assert "0123abcdef4567" not in text
    assert "AKIAEXAMPLE" not in text
    assert "dtok_abcdefghijkl" not in text


def test_warnings_of_libraries_join_the_story_and_their_chatter_does_not(stream: io.StringIO) -> None:
    """An HTTP library logs every URL at info: presigned ones must not get out that way."""
    logs.configure(LogSettings(format="json", level="debug"), stream)
    logging.getLogger("httpx").info("HTTP Request: PUT %s", URL)
    logging.getLogger("bleak.backends").warning("odd thing")
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["event"], one["said"]) for one in told] == [("library_warning", "odd thing")]


def test_redaction_leaves_plain_words_alone() -> None:
    """What is no credential stays readable, whatever surrounds it."""
    words = ["recording", "rec_abc123", "dev_1", "startup_sequence_of_the_hub", "backup_finished"]
    assert redact(" ".join(words)) == " ".join(words)
