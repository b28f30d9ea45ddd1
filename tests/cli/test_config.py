"""``bota-gateway config``: what is in force, what is hidden, what is wrong."""

import os
import re
from pathlib import Path

import pytest

from bota_gateway.config import keys
from support.commands import run_here, run_process

KEY = "sk_test_0123456789abcdef"
ROOT = Path(__file__).parents[2]


def write(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_every_setting_in_force_is_shown(tmp_path: Path) -> None:
    """One line a setting, those of the file, of the environment and the defaults together."""
    path = write(tmp_path, "[radio]\nmax_links = 2\n")
    told = run_process("config", "--config", path, env={"BOTA_GATEWAY_SPOOL__RETENTION_HOURS": "1.5"})
    assert told.code == 0
    assert "radio.max_links = 2" in told.lines
    assert "spool.retention_hours = 1.5" in told.lines
    assert "recorders.confirm = after_stored" in told.lines
    assert [line.split(" = ")[0] for line in told.lines] == [f"{section}.{key}" for section, key in keys()]


def test_the_key_stays_hidden(tmp_path: Path) -> None:
    """Neither the table nor the JSON shows it, so that either can be pasted into a ticket."""
    path = write(tmp_path, f"[cloud]\napi_key = '{KEY}'\n")
    for form in ((), ("--json",)):
        told = run_here("config", "--config", path, *form)
        assert told.code == 0
        assert KEY not in told.out
        assert "**" in told.out


def test_as_json_it_is_a_table_of_sections(tmp_path: Path) -> None:
    """Programs get the same values by section and key."""
    told = run_here("config", "--json", "--config", write(tmp_path, "[radio]\nadapters = ['hci1']\n"))
    assert told.json["radio"]["adapters"] == ["hci1"]
    assert {f"{section}.{key}" for section in told.json for key in told.json[section]} == {
        f"{section}.{key}" for section, key in keys()
    }


def test_a_file_that_is_closed_to_this_user_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a mistake in the command: it was typed right, only not by the right user."""
    path = write(tmp_path, "")

    def closed(*_: object) -> str:
        raise PermissionError

    monkeypatch.setattr(os, "access", lambda *_: False)  # these tests may run as root, for whom nothing is closed
    monkeypatch.setattr(Path, "read_text", closed)
    told = run_here("status", "--config", path)
    assert (told.code, told.out) == (2, "")
    assert "[config_closed]\n  next: Use sudo." in told.err


def test_an_installed_file_in_a_closed_directory_is_said_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody took the directory away from others; the answer is one sentence, and no traceback."""

    def closed(*_: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "exists", closed)
    monkeypatch.setattr(Path, "read_text", closed)
    told = run_here("status")
    assert (told.code, told.out) == (2, "")
    assert "[config_closed]\n  next: Use sudo." in told.err


def test_the_example_configuration_is_the_defaults() -> None:
    """config.example.toml can be copied as it is: it changes nothing."""
    told = run_here("config", "--config", ROOT / "config.example.toml")
    assert (told.code, told.out) == (0, run_process("config").out)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[radio]\nmax_lniks = 2\n", "radio.max_lniks (did you mean radio.max_links?)"),
        ("[radio]\nmax_links = 0\n", "radio.max_links"),
        ("[cloud]\napi_base = 'http://api.bota.dev/v1'\n", "cloud.api_base"),
        ("[cloud]\ncontent_type = 'audio/opus'\n", "cloud.content_type"),
        ("[spool]\nmax_bytes = 'much'\n", "spool.max_bytes"),
        ("radio]\n", "config.toml"),
    ],
)
def test_what_is_wrong_is_named_and_exits_2(tmp_path: Path, text: str, named: str) -> None:
    """The key that is wrong stands in the message, and a next step follows."""
    told = run_here("config", "--config", write(tmp_path, text))
    assert (told.code, told.out) == (2, "")
    assert named in told.err
    assert re.search(r"\[config_\w+\]\n  next: \w", told.err)


def test_a_wrong_variable_is_named_too(tmp_path: Path) -> None:
    """The environment is held to the same names as the file."""
    told = run_process("config", env={"BOTA_GATEWAY_RADIO__MAX_LNIKS": "3"})
    assert told.code == 2
    assert "BOTA_GATEWAY_RADIO__MAX_LINKS" in told.err


def test_a_file_that_is_not_there_exits_2(tmp_path: Path) -> None:
    """The error names it."""
    told = run_here("config", "--config", tmp_path / "nowhere.toml")
    assert told.code == 2
    assert "nowhere.toml" in told.err
