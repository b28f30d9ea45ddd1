import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bota_gateway.errors import SpoolFullError, SpoolWriteError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES, PAGE_BYTES
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
