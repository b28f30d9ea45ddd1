"""What each generation is told, and how auto finds out which one answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.cloud.answers import parse_device, parse_recording, parse_refusal
from bota_gateway.cloud.contracts import D1, D2, Contract, ContractChoice, E, NewRecording
from bota_gateway.cloud.transport import Answer
from bota_gateway.config import Profile
from bota_gateway.errors import CloudProtocolError

SHA = "ab" * 32
NEW = NewRecording("dev_1", "eu_1", 1_790_000_000, 90, {"serial_number": "BP1"})
OLD_ANSWER = {"id": "rec_1", "status": "pending", "started_at": None, "ended_at": None, "duration_ms": None}
NEW_ANSWER = {"id": "rec_1", "status": "pending", "recorded_at": None, "duration_seconds": None}
OWNER = {"device_id": "dev_1", "end_user_id": "eu_1", "metadata": {"serial_number": "BP1"}}


@pytest.mark.parametrize(
    ("contract", "times"),
    [
        (D1, {"started_at": "2026-09-21T14:13:20Z", "ended_at": "2026-09-21T14:14:50Z"}),
        (D2, {"started_at": "2026-09-21T14:13:20Z", "ended_at": "2026-09-21T14:14:50Z"}),
        (E, {"recorded_at": "2026-09-21T14:13:20Z", "source": "device", "upload_method": "ble"}),
    ],
)
def test_create_says_when_it_was(contract: Contract, times: dict[str, str]) -> None:
    """Start and end in the older generations, the start alone in the newest."""
    assert contract.create_body(NEW) == OWNER | times


@pytest.mark.parametrize("contract", [D1, D2, E])
def test_an_unknown_start_is_left_out(contract: Contract) -> None:
    """0 means that the recorder's clock was not set."""
    body = contract.create_body(NewRecording(None, "eu_1", 0, 90, {}))
    assert not {"started_at", "ended_at", "recorded_at", "device_id"} & set(body)


def test_a_set_profile_learns_nothing() -> None:
    """The operator's word stands against every answer."""
    choice = ContractChoice(Profile.D1)
    choice.observe(parse_recording(NEW_ANSWER))
    assert choice.current is D1
    assert choice.alternative({"type"}, [D1]) is None


@pytest.mark.parametrize(
    ("answer", "learned"),
    [
        (OLD_ANSWER, D1),
        (OLD_ANSWER | {"media": []}, D2),
        (NEW_ANSWER, E),
        ({"id": "rec_1", "status": "pending"}, E),
    ],
)
def test_auto_learns_from_the_fields_of_answers(answer: dict[str, Any], learned: Contract) -> None:
    """Each generation has fields of its own; a bare answer teaches nothing."""
    choice = ContractChoice(Profile.AUTO)
    assert choice.current is E
    choice.observe(parse_recording(answer))
    assert choice.current is learned


def test_auto_comes_back_to_the_newest() -> None:
    """What was taken for an old server and then shows new fields is a new one."""
    choice = ContractChoice(Profile.AUTO)
    choice.observe(parse_recording(OLD_ANSWER))
    choice.observe(parse_recording(NEW_ANSWER))
    assert choice.current is E


def test_a_proof_settles_it() -> None:
    """After a proved digest no odd answer makes the gateway ask for less."""
    choice = ContractChoice(Profile.AUTO)
    proof = NEW_ANSWER | {"content_sha256": SHA, "content_sha256_verified_at": "2026-10-01T00:00:00Z"}
    choice.observe(parse_recording(proof))
    choice.observe(parse_recording(OLD_ANSWER))
    assert choice.current is E
    assert choice.alternative({"content_sha256"}, [E]) is None


def test_a_refusal_alone_teaches_nothing() -> None:
    """An alternative is tried, and learned only when it is accepted."""
    choice = ContractChoice(Profile.AUTO)
    assert choice.alternative(set(), [E]) is None
    assert choice.alternative({"recorded_at"}, [E]) is D2
    assert choice.current is E
    assert choice.alternative({"recorded_at"}, [E, D2]) is D1
    assert choice.alternative({"recorded_at"}, [E, D2, D1]) is None
    choice.accepted(D1)
    assert choice.current is D1


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("type is required", {"type"}),
        ("field type is missing", {"type"}),
        ("`type` must be one of audio, image", {"type"}),
        ("unsupported content type", set()),
        ("this type of request is odd", set()),
        ("unknown field 'source'", {"source"}),
        ("the source of the error is unknown", set()),
        ("content_type is not supported", {"content_type"}),
        ("recorded_at, upload_method: unknown", {"recorded_at", "upload_method"}),
        ("x_recorded_at", set()),
    ],
)
@pytest.mark.parametrize("shape", ["A", "C", "D"])
def test_fields_are_told_from_words(message: str, fields: set[str], shape: str) -> None:
    """'unsupported content type' does not speak of the field type, and variant C's own type is none."""
    body: dict[str, Any] = {"A": {"code": "type", "message": message}, "C": {"type": "type", "message": message}}
    error = body.get(shape, message)
    assert parse_refusal(_answer({"error": error})).fields == fields


@pytest.mark.parametrize(
    "where", [{"param": "type"}, {"details": {"field": "type"}}, {"details": [{"path": ["type"]}]}]
)
def test_a_field_named_by_itself_is_found(where: dict[str, Any]) -> None:
    """Wherever the error keeps it."""
    assert parse_refusal(_answer({"error": {"code": "invalid_request", "message": "m", **where}})).fields == {"type"}


def _answer(body: object) -> Answer:
    return Answer(400, {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("row", "size", "duration", "started"),
    [
        ({"file_size_bytes": 5, "duration_ms": 1500, "started_at": "2026-10-01T00:00:00Z"}, 5, 1.5, 1_790_812_800),
        (
            {"file_size_bytes": "5", "duration_seconds": 2, "recorded_at": "2026-10-01T02:00:00+02:00"},
            5,
            2,
            1_790_812_800,
        ),
        ({"media": [{"file_size_bytes": 5}]}, 5, None, None),
        ({"media": [{"file_size_bytes": 5}, {"file_size_bytes": 5}]}, None, None, None),
        ({"media": []}, None, None, None),
        ({"file_size_bytes": "five", "duration_seconds": 1.5, "recorded_at": "yesterday"}, None, 1.5, None),
        ({"file_size_bytes": True, "duration_seconds": None, "recorded_at": 7}, None, None, None),
        ({"recorded_at": "2026-10-01T00:00:00"}, None, None, None),
    ],
)
def test_figures_of_every_generation_are_read(
    row: dict[str, Any], size: int | None, duration: float | None, started: float | None
) -> None:
    """Milliseconds or seconds, numbers or decimal strings, on the recording or on its medium."""
    seen = parse_recording({"id": "rec_1", "status": "pending"} | row)
    assert (seen.size_bytes, seen.duration_s, seen.started_at) == (size, duration, started)


@pytest.mark.parametrize(
    ("row", "proves"),
    [
        ({"content_sha256": SHA, "content_sha256_verified_at": "2026-10-01T00:00:00Z"}, True),
        ({"content_sha256": SHA.upper(), "content_sha256_verified_at": "2026-10-01T00:00:00Z"}, True),
        ({"content_sha256": SHA, "content_sha256_verified_at": None}, False),
        ({"content_sha256": SHA, "content_sha256_verified_at": True}, False),
        ({"content_sha256": SHA, "content_sha256_verified_at": ""}, False),
        ({"content_sha256": None, "content_sha256_verified_at": "2026-10-01T00:00:00Z"}, False),
        ({"content_sha256": SHA[:-1], "content_sha256_verified_at": "2026-10-01T00:00:00Z"}, False),
    ],
)
def test_a_proof_is_digest_and_time(row: dict[str, Any], proves: bool) -> None:
    """One without the other proves nothing."""
    assert parse_recording({"id": "rec_1", "status": "uploaded"} | row).proves(SHA) is proves


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)
_NAMES = st.sampled_from(
    ["id", "status", "metadata", "created_at", "deleted_at", "media", "file_size_bytes", "duration_ms", "end_user_id",
     "content_sha256", "content_sha256_verified_at", "serial_number", "binding_generation", "recorded_at"]
)  # fmt: skip


@given(st.dictionaries(_NAMES, _JSON))
def test_no_object_breaks_the_readers(row: dict[str, Any]) -> None:
    """Any JSON in any field is read or refused, never a crash."""
    for parse in (parse_recording, parse_device):
        try:
            parse(row)
        except CloudProtocolError:
            continue
        assert isinstance(row["id"], str)


@given(st.binary(max_size=300) | _JSON.map(lambda value: repr(value).encode()))
def test_no_error_body_breaks_the_reader(body: bytes) -> None:
    """Any bytes are a refusal without words at worst."""
    parse_refusal(Answer(400, {}, body))
