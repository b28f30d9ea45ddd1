import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bota_gateway.errors import SpoolFullError, SpoolWriteError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES, BALLAST_BYTES, PAGE_BYTES
from support.failing_disks import run_action
from support.power_cuts import why_not
from support.spool_children import run_child
from support.spooling import BOUND, TurnableClock, bring_to, noise, settings_for, sha256

SIZE = 8 << 20


def mount(*arguments: str) -> bool:
    command = shutil.which("mount")
    if command is None or os.geteuid() != 0:
        return False
    return subprocess.run([command, *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)):
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)  # noqa: S603, S607 - a fixed command


async def test_a_write_that_fails_is_reported_and_undone(tmp_path: Path) -> None:
    """When the disk refuses, steps raise, nothing changes, health says why; the bytes are kept for another try."""
    seen = run_child("limited", tmp_path)
    assert seen["codes"] == ["spool_write_failed", "spool_write_failed"]
    assert seen["unhealthy"] == [False, "spool_write_failed"]
    assert seen["state"] is None
    assert seen["healthy"] is True
    assert seen["identical"] is True


async def test_the_hard_quota_holds_even_for_custody(tmp_path: Path) -> None:
    """SQLite itself never lets the file grow beyond the quota; its refusal is ours, and temporary."""
    async with Spool.open(settings_for(tmp_path), TurnableClock()) as spool:
        row = await bring_to(spool, Custody.COMPLETING)
        pages = (await spool._db.read("PRAGMA page_count"))[0][0]
        await spool._db._db.execute_fetchall(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SpoolFullError):
            await spool.park(row.id, code="x", detail="long " * PAGE_BYTES)
        assert (spool.health.healthy, spool.health.code) == (False, "spool_full")
        assert await spool.recording(row.id) == row
        await spool._db._db.execute_fetchall(f"PRAGMA max_page_count = {pages * 100}")
        await spool.park(row.id, code="x", detail="long " * PAGE_BYTES)
        assert spool.health.healthy


async def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """With no byte left, arriving audio is refused and kept; once there is room again everything goes on."""
    filler = small_disk / "filler"
    data = noise(3 * AUDIO_ROW_BYTES)
    async with Spool.open(settings_for(small_disk), TurnableClock()) as spool:
        kept = await bring_to(spool, Custody.CAPTURED, 1, data=noise(9))
        row = await bring_to(spool, Custody.RECEIVING, 2)
        await spool.store_audio(row.id, data[:AUDIO_ROW_BYTES])
        with filler.open("wb") as file:
            while shutil.disk_usage(small_disk).free:
                os.write(file.fileno(), bytes(PAGE_BYTES))
        spool._disk_free = lambda: 1 << 40  # type: ignore[method-assign] # let the disk itself refuse
        with pytest.raises(SpoolFullError):
            await spool.store_audio(row.id, data[AUDIO_ROW_BYTES:])
        assert not spool.health.healthy
        assert await spool.recording(kept.id) == kept
        filler.unlink()
        await spool.store_audio(row.id, b"")
        await spool.capture(row.id, size_bytes=len(data), sha256=sha256(data), device_sha256=None, binding=BOUND)
        assert spool.health.healthy
        assert b"".join([piece async for piece in spool.read_audio(row.id)]) == data


async def test_a_disk_that_turns_read_only(small_disk: Path) -> None:
    """As cards do when they fail: a start says that the disk refuses, and nothing is lost once it no longer does."""
    async with Spool.open(settings_for(small_disk), TurnableClock()) as spool:
        row = await bring_to(spool, Custody.COMPLETING)
    assert mount("-o", "remount,ro", str(small_disk))
    with pytest.raises(SpoolWriteError):
        async with Spool.open(settings_for(small_disk), TurnableClock()):
            pass
    assert mount("-o", "remount,rw", str(small_disk))
    async with Spool.open(settings_for(small_disk), TurnableClock()) as spool:
        assert await spool.recording(row.id) == row


# -- whole file systems ------------------------------------------------------------------------------------------------


@pytest.fixture
def own_disk(tmp_path: Path) -> Path:
    """Where an action may mount a file system of its own."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    return tmp_path


def test_an_io_error_at_any_write_costs_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Wherever in the log or the database a write fails, the step fails whole, and done again it succeeds."""
    seen = run_action("any_write", tmp_path)
    assert seen["wrong"] == []
    assert set(seen["refused"]) == {"spool_write_failed"}
    assert seen["refused"]["spool_write_failed"] > 30
    record_property("figures", f"{seen['refused']['spool_write_failed']} writes failed, nothing lost")


def test_a_card_that_turns_read_only_in_use(own_disk: Path) -> None:
    """Nothing is promised any more and what is here can be read; the next life has all that was promised."""
    seen = run_action("read_only", own_disk, mounting=True)
    assert seen["codes"] == ["spool_write_failed"] * 4
    assert (seen["health"], seen["readable"], seen["faults"]) == ("spool_write_failed", True, [])
    assert seen["states"] == [Custody.STORED, Custody.LISTED]
    assert seen["next life"] == ["done", "done"]


def test_a_disk_that_others_filled_still_lets_uploads_through(own_disk: Path) -> None:
    """Audio is refused; the ballast gives custody its room, also at a start; when there is room again it comes back."""
    seen = run_action("full", own_disk, mounting=True)
    assert (seen["codes"], seen["kept"]) == (["spool_full"], True)
    assert seen["uploaded meanwhile"] == Custody.STORED
    assert (seen["still no room"], seen["room again"]) == (["spool_full"], ["done"])
    assert seen["ballast"] >= BALLAST_BYTES
    assert (seen["healthy"], seen["faults"]) == (True, [])
