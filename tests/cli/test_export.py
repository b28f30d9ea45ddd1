"""``bota-gateway export``: the bytes that were captured, in a file that was not there before."""

import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.cli import export
from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES, DATABASE_NAME, PIECE_BYTES
from support.commands import Told, run_beside, run_here, run_process
from support.spooling import BOUND, SERIAL, TurnableClock, bring_to, entry, meet, noise, pull, settings_for, sha256
from support.world import World, speech

DATA = b"OggS" + noise(2 * PIECE_BYTES + 12_345)
NAME = f"{SERIAL}-00000001-19700101T001640Z.ogg"


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A closed spool with a long capture, a listed recording and a released one."""
    async with Spool.open(settings_for(tmp_path / "spool"), TurnableClock()) as spool:
        await bring_to(spool, Custody.STORED, 3)
        await spool._release(1)
        await bring_to(spool, Custody.CAPTURED, 1, data=DATA)
        await bring_to(spool, Custody.LISTED, 2)
    return tmp_path / "spool"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where exports go: nothing else may ever be in it."""
    path = tmp_path / "place"
    path.mkdir()
    return path


def spoil(directory: Path, statement: str) -> None:
    database = sqlite3.connect(directory / DATABASE_NAME)
    with database:
        database.execute(statement, (2,))
    database.close()


def names_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def refused(told: Told, code: int, error: str, place: Path) -> None:
    """It says why, and leaves nothing behind."""
    assert (told.code, told.out) == (code, "")
    assert f"[{error}]" in told.err
    assert list(place.iterdir()) == []


# -- from the directory --------------------------------------------------------------------------------------------


def test_a_capture_becomes_a_file(directory: Path, place: Path) -> None:
    """Bit-identical, named after recorder, recording and start, without a configuration, a key or a daemon."""
    told = run_process("export", "00000001", "--directory", directory, "--to", place)
    assert (told.code, told.err) == (0, "")
    assert told.lines == [f"{place / NAME}  2.1 MB  sha256 {sha256(DATA)}"]
    assert (place / NAME).read_bytes() == DATA
    assert [path.name for path in place.iterdir()] == [NAME]
    assert (place / NAME).stat().st_nlink == 1


def test_the_place_is_chosen(directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file by its name, a directory, or where one stands."""
    told = run_here("export", "00000001", "--directory", directory, "--to", place / "a.ogg", "--json")
    assert told.json == {
        "file": str(place / "a.ogg"),
        "serial": SERIAL,
        "file_id": "00000001",
        "size_bytes": len(DATA),
        "sha256": sha256(DATA),
        "content_type": "audio/ogg",
        "whole": True,
    }
    monkeypatch.chdir(place)
    assert run_here("export", f"{SERIAL}/00000001/1000", "--directory", directory).code == 0
    assert {path.name for path in place.iterdir()} == {"a.ogg", NAME}


@pytest.mark.parametrize("what", ["file", "dangling link"])
def test_nothing_is_overwritten(directory: Path, place: Path, what: str) -> None:
    """Whatever has the name already keeps it, and no half-written file stays."""
    if what == "file":
        (place / NAME).write_bytes(b"mine")
    else:
        (place / NAME).symlink_to(place / "nowhere")
    told = run_here("export", "00000001", "--directory", directory, "--to", place)
    assert (told.code, "[export_exists]" in told.err) == (1, True)
    assert [path.name for path in place.iterdir()] == [NAME]
    assert (place / NAME).is_symlink() == (what != "file")


def test_a_name_taken_meanwhile_is_kept(directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that makes the file while this one writes wins."""
    real = os.fsync

    def taken(handle: int) -> None:
        (place / NAME).write_bytes(b"mine")
        real(handle)

    monkeypatch.setattr(os, "fsync", taken)
    told = run_here("export", "00000001", "--directory", directory, "--to", place)
    assert (told.code, "[export_exists]" in told.err) == (1, True)
    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [(NAME, b"mine")]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_stick_without_hard_links(directory: Path, place: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT has none: the file is renamed instead."""

    def no_links(_source: Path, _target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    assert run_here("export", "00000001", "--directory", directory, "--to", place).code == 0
    assert [path.name for path in place.iterdir()] == [NAME]
    assert (place / NAME).read_bytes() == DATA


def test_a_place_that_can_t_be_written(directory: Path, place: Path) -> None:
    """The message names the file and the way out."""
    told = run_here("export", "00000001", "--directory", directory, "--to", place / "missing" / "a.ogg")
    refused(told, 1, "export_failed", place)
    assert "--to" in told.err


@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        ("00000002", 3, "spool_no_audio"),
        ("00000003", 3, "spool_no_audio"),
        ("4711", 1, "status_no_such_recording"),
        ("0000000", 1, "status_ambiguous_recording"),
        ("OTHER/00000001", 1, "status_no_such_recording"),
        ("a/b/c/d", 1, "status_no_such_recording"),
    ],
)
def test_what_can_t_be_exported(directory: Path, place: Path, name: str, code: int, error: str) -> None:
    """Not captured, deleted after its retention, unknown, or not one: each says so."""
    refused(run_here("export", name, "--directory", directory, "--to", place), code, error, place)


DAMAGES = {
    "one row of other bytes": "UPDATE audio SET data = zeroblob(length(data)) WHERE recording_id = ? AND number = 3",
    "a row is missing": "DELETE FROM audio WHERE recording_id = ? AND number = 3",
    "the digest is another": "UPDATE recordings SET sha256 = 'f00' WHERE id = ?",
}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES)
def test_damaged_audio_is_saved_only_when_asked(directory: Path, place: Path, statement: str) -> None:
    """It is never passed off as the recording; what is left of it can be had all the same."""
    spoil(directory, statement)
    refused(run_here("export", "00000001", "--directory", directory, "--to", place), 3, "spool_audio_differs", place)
    told = run_here("export", "00000001", "--directory", directory, "--to", place, "--damaged")
    assert told.code == 0
    assert "damaged" in told.lines[1]
    assert len((place / NAME).read_bytes()) >= len(DATA) - AUDIO_ROW_BYTES


def test_audio_that_can_t_even_be_read(directory: Path, place: Path) -> None:
    """With a page of it gone, all that can be read is saved when asked."""
    path = directory / DATABASE_NAME
    where = path.read_bytes().index(DATA[4 * AUDIO_ROW_BYTES + 50_000 : 4 * AUDIO_ROW_BYTES + 50_100]) // 4096
    with path.open("r+b") as file:
        file.seek(where * 4096)
        file.write(bytes(4096))
    refused(run_here("export", "00000001", "--directory", directory, "--to", place), 3, "spool_corrupt", place)
    told = run_here("export", "00000001", "--directory", directory, "--to", place, "--damaged", "--json")
    assert (told.code, told.json["whole"]) == (0, False)
    left = (place / NAME).read_bytes()
    assert left == DATA[: 4 * AUDIO_ROW_BYTES] + DATA[5 * AUDIO_ROW_BYTES :]


async def test_what_it_is_is_said(tmp_path: Path, place: Path) -> None:
    """Ciphertext and unknown content are saved too, and nobody is left to wonder why no player opens them."""
    async with Spool.open(settings_for(tmp_path / "spool"), TurnableClock()) as spool:
        (odd, secret) = await meet(spool, entry(1, started_at=0), entry(2, started_at=0), serial="../../etc/x")
        await pull(spool, odd, b"\x01\x02\x03")
        await spool.begin_receiving(secret.id)
        await spool.store_audio(secret.id, b"P10")
        await spool.capture(
            secret.id, size_bytes=3, sha256=sha256(b"P10"), device_sha256=None, binding=BOUND, profile="p10"
        )
    told = await run_beside("export", "00000001", "--directory", tmp_path / "spool", "--to", place)
    assert "no kind of audio" in told.lines[-1]
    told = await run_beside("export", "00000002", "--directory", tmp_path / "spool", "--to", place)
    assert "encrypted end to end" in told.lines[-1]
    assert names_in(place) == [
        "______etc_x-00000001-undated.bin",
        "______etc_x-00000002-undated.bin",
    ]


def test_no_part_of_a_file_stays_when_it_is_interrupted(
    directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle leaves the place as it was."""

    def interrupted(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    told = run_here("export", "00000001", "--directory", directory, "--to", place)
    assert told.code != 0
    assert list(place.iterdir()) == []


# -- from the daemon -----------------------------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    # Paced: unpaced packets of more than the notification buffer holds may all come before a thread has stored any.
    async with World.open(tmp_path, bytes_per_s=2_000_000) as opened:
        yield opened


@pytest.mark.virtual_time
async def test_a_running_daemon_gives_it_piece_by_piece(world: World, place: Path) -> None:
    """The cloud refuses everything; the capture can be had all the same, while the daemon works on."""
    held = speech(1, size=2 * PIECE_BYTES + 7)
    await world.recorder("PIN0000001", held)
    world.cloud.faults.add("* /recordings*", Status(status=401), times=None)
    config = world.directory / "config.toml"
    async with world.gateway() as running:
        await running.all_in(Custody.CAPTURED)
        config.write_text(
            f'[spool]\ndirectory = "{world.directory / "spool"}"\n[status]\nsocket = "{running.socket}"\n'
        )
        told = await run_beside("export", "0000", "--config", config, "--to", place / "by-config.ogg")
        assert (told.code, told.err) == (0, "")
        told = await run_beside("export", "0000", "--socket", running.socket, "--to", place / "by-socket.ogg")
        assert (told.code, told.err) == (0, "")
        told = await run_beside("export", "4711", "--socket", running.socket, "--to", place)
        assert (told.code, "[status_no_such_recording]" in told.err) == (1, True)
        told = await run_beside("export", "0000", "--directory", world.directory / "spool", "--to", place)
        assert (told.code, "[spool_locked]" in told.err) == (3, True)
    assert names_in(place) == ["by-config.ogg", "by-socket.ogg"]
    for name in ("by-config.ogg", "by-socket.ogg"):
        assert (place / name).read_bytes() == held.data


def test_every_content_type_has_its_ending() -> None:
    """What the uploader recognises gets a name that players recognise."""
    assert len(set(export.ENDINGS.values())) == len(export.ENDINGS) == 6
