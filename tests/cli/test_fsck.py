"""``bota-gateway fsck``: words for people, JSON for programs, an exit code for scripts."""

import os
import sqlite3
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import DATABASE_NAME
from support.commands import run_beside, run_here, run_process
from support.spooling import TurnableClock, bring_to, settings_for


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A closed spool with one recording in each state."""
    async with Spool.open(settings_for(tmp_path / "spool"), TurnableClock()) as spool:
        for number, state in enumerate(Custody):
            await bring_to(spool, state, number)
    return tmp_path / "spool"


def spoil(directory: Path) -> None:
    database = sqlite3.connect(directory / DATABASE_NAME)
    with database:
        database.execute("UPDATE audio SET data = X'00'")
    database.close()


def test_a_whole_spool(directory: Path) -> None:
    """Exit 0, and what was looked at; what the cloud does not have yet is counted."""
    told = run_process("fsck", directory)
    assert (told.code, told.err) == (0, "")
    assert told.lines[0].startswith(f"{directory}: recordings looked at: 11; ")
    assert told.lines[-2:] == ["Captured, and not in the cloud yet: 4.", "The spool is whole."]


def test_a_directory_that_is_closed_to_this_user_is_no_mistake_of_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks into it says what is the matter and what to do; click would only refuse it. So with an export."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # these tests may run as root, for whom nothing is closed
    for words in (("fsck", tmp_path), ("export", "00000001", "--directory", tmp_path)):
        told = run_here(*words)
        assert (told.code, told.out) == (3, "")
        assert "  next: " in told.err


def test_the_configurations_spool_is_the_default(directory: Path) -> None:
    """As the daemon finds it: from the file, or from the environment."""
    config = directory.parent / "config.toml"
    config.write_text(f'[spool]\ndirectory = "{directory}"\n')
    assert run_here("fsck", "--config", config, "--json").json["whole"] is True
    told = run_process("fsck", "--json", env={"BOTA_GATEWAY_SPOOL__DIRECTORY": str(directory)})
    assert (told.code, told.json["recordings"]) == (0, 11)


def test_a_damaged_spool(directory: Path) -> None:
    """Exit 1; each fault names its recording, its code and what to do."""
    spoil(directory)
    told = run_here("fsck", directory)
    assert told.code == 1
    assert told.lines[-1] == "Faults: 7."
    faults = [line for line in told.lines if line.startswith("  ! ")]
    assert all("[audio_missing]" in line and "BP1A2B3C4D/" in line for line in faults)
    assert told.out.count("next: Check the disk.") == 7
    found = run_here("fsck", directory, "--json")
    assert (found.code, found.json["whole"], len(found.json["faults"])) == (1, False, 7)
    assert set(found.json["faults"][0]) == {"code", "recording", "message", "remedy"}


async def test_a_spool_in_use(tmp_path: Path) -> None:
    """Exit 3 and no word about faults while a gateway runs on it."""
    async with Spool.open(settings_for(tmp_path), TurnableClock()):
        told = await run_beside("fsck", tmp_path)
    assert (told.code, told.out) == (3, "")
    assert "[spool_locked]" in told.err
    assert "systemctl stop" in told.err


def test_no_spool(tmp_path: Path) -> None:
    """Exit 3, and nothing is made where nothing is."""
    told = run_here("fsck", tmp_path / "nowhere")
    assert (told.code, told.out) == (3, "")
    assert "[spool_not_there]" in told.err
    assert list(tmp_path.iterdir()) == []
