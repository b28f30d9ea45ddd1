"""The disk below the spool: its room, and what it tells of its own wear. Reads only, and never the database."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bota_gateway.spool.const import DATABASE_NAME

_LIFE_STEP_PERCENT: Final = 10
_LIFE_EXCEEDED: Final = 0x0B
"""JEDEC eMMC 5.1, EXT_CSD 268 and 269: 1 stands for up to 10 % of the life used, 10 for up to 100 %, 11 for more. 0 is
"not told"."""


@dataclass(frozen=True, slots=True)
class Room:
    """How full the disk is."""

    free_bytes: int
    """For those who are not root."""
    total_bytes: int
    file_bytes: int
    """The database's file, whose free pages take new audio; 0 where there is none, or where it can't be seen."""


@dataclass(frozen=True, slots=True)
class Wear:
    """What an eMMC tells of itself (JEDEC eMMC 5.1, EXT_CSD 267 to 269); SD cards and USB sticks tell nothing."""

    device: str
    life_used_percent: int | None
    """Upper end of the tenth that it is in, of the worse of its two parts; 110 for "exceeded". None: not told."""
    reserve: int
    """Of spare blocks: 1 normal, 2 four fifths are used, 3 urgent; 0 not told."""


def room(directory: Path) -> Room:
    """Of the disk that has the directory, or will have it once it is made.

    Raises:
        OSError: it can't be asked.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if _exists(path))
    usage = shutil.disk_usage(there)
    try:
        file_bytes = (directory / DATABASE_NAME).stat().st_size
    except OSError:
        file_bytes = 0
    return Room(usage.free, usage.total, file_bytes)


def wear(directory: Path, sys_root: Path) -> Wear | str:
    """What the disk below the directory tells of its wear; else the name of a disk that tells nothing.

    Args:
        directory: The spool's, there already or not.
        sys_root: ``/sys``, or a tree laid out like it.

    Raises:
        OSError: the kernel does not say which disk it is.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if _exists(path))
    number = there.stat().st_dev
    node = (sys_root / f"dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    disk = node.parent if (node / "partition").exists() else node
    life = _hex_words(disk / "device/life_time")
    reserve = _hex_words(disk / "device/pre_eol_info")
    if not any(life) and not any(reserve):
        return disk.name
    return Wear(
        disk.name, min(max(life), _LIFE_EXCEEDED) * _LIFE_STEP_PERCENT if any(life) else None, max(reserve, default=0)
    )


def _hex_words(path: Path) -> list[int]:
    try:
        return [int(word, 16) for word in path.read_text("ascii").split()]
    except (OSError, ValueError):
        return []


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
