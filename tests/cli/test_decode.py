"""``bota-gateway decode`` as a technician uses it: the documented examples, and what mistakes get."""

import json

import pytest

from bota_gateway.protocol.decode import KINDS
from support.commands import run_here, run_process

EXAMPLES = [
    (
        ("transfer-packet", "0134120300aabbcc"),
        {"type": "data", "seq": 4660, "declared_len": 3, "payload": "aabbcc"},
    ),
    (
        ("recording-list", "a1b2c3d401000000000000000000000000f153650c000400"),
        {
            "count_byte": None,
            "entries": [
                {
                    "file_id": "a1b2c3d4",
                    "uuid": "a1b2c3d4-0000-0000-0000-000000000000",
                    "flags": 1,
                    "encrypted_at_rest": True,
                    "started_at": 1700000000,
                    "duration_s": 12,
                    "size_kib": 4,
                }
            ],
        },
    ),
    (
        ("recording-status", "000000000004"),
        {"kind": "result", "active": False, "code": 4, "success": False, "name": "invalid_grant"},
    ),
    (("transfer-packet", "100000"), {"type": "ignore"}),
]


@pytest.mark.parametrize(("arguments", "answer"), EXAMPLES, ids=[" ".join(arguments) for arguments, _ in EXAMPLES])
def test_the_examples_of_the_documentation(arguments: tuple[str, str], answer: object) -> None:
    """One JSON object on standard output, with exactly the documented values, and exit 0."""
    told = run_here("decode", *arguments)
    assert (told.code, told.err) == (0, "")
    assert len(told.lines) == 1
    assert told.json == answer


def test_bytes_that_are_none_of_the_kind() -> None:
    """They get a code and a sentence as JSON on standard output, and exit 1."""
    told = run_process("decode", "device-status", "0001")
    assert told.code == 1
    assert told.json["error"] == "too_short"
    assert told.json["message"]
    assert told.err == ""


def test_several_values_are_notifications_in_order() -> None:
    """A list that came in two notifications is one list."""
    rest = "01000000000000000000000000f153650c000400"
    told = run_here("decode", "recording-list", f"02a1b2c3d4{rest}", f"b1b2c3d4{rest}")
    assert told.code == 0
    assert told.json["count_byte"] == 2
    assert [one["file_id"] for one in told.json["entries"]] == ["a1b2c3d4", "b1b2c3d4"]


def test_blanks_and_case_do_not_matter() -> None:
    """As copied from a phone app or from btmon."""
    plain = run_here("decode", "transfer-packet", "0134120300aabbcc")
    assert run_here("decode", "transfer-packet", "01 34 12 03 00  AA BB\tCC").out == plain.out


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_empty_value_is_a_value(kind: str) -> None:
    """An empty notification gets an answer or an error of its kind, never a crash."""
    told = run_here("decode", kind, "")
    assert told.code in (0, 1)
    assert isinstance(told.json, dict)
    assert (told.code == 1) == ("error" in told.json)


@pytest.mark.parametrize("value", ["0g", "123", "0x01", "ä"])
def test_what_is_no_hexadecimal_is_said(value: str) -> None:
    """A slip of the fingers is named, not decoded."""
    told = run_here("decode", "device-status", value)
    assert told.code == 1
    assert told.json["error"] == "not_hex"


def test_an_unknown_kind_is_a_mistake_of_usage() -> None:
    """It exits 2 and names the kinds there are."""
    told = run_process("decode", "device-state", "00")
    assert told.code == 2
    assert told.out == ""
    assert "device-status" in told.err


def test_a_kind_without_values_is_a_mistake_of_usage() -> None:
    """Nothing to decode is no answer."""
    assert run_here("decode", "device-status").code == 2


def test_what_a_recorder_wrote_can_not_move_the_cursor() -> None:
    """A log line with control characters comes out escaped, as JSON can, and means the same to a program."""
    text = "a\x1b[2J\x9b31m\u202eb\n"
    told = run_here("decode", "device-logs", text.encode().hex())
    assert told.code == 0
    assert told.out.rstrip("\n").isprintable()
    assert "\x9b31m" in json.dumps(told.json, ensure_ascii=False)


def test_it_needs_neither_configuration_nor_daemon() -> None:
    """A broken environment of the gateway does not matter to it."""
    told = run_process("decode", "transfer-packet", "100000", env={"BOTA_GATEWAY_CLOUD__API_BASE": "nonsense"})
    assert told.json == {"type": "ignore"}
