"""The disk below the spool, as the kernel tells of it."""

from pathlib import Path

import pytest

from bota_gateway.spool.disk import Wear, room, wear
from support.hub_files import SysTree


@pytest.fixture
def tree(tmp_path: Path) -> SysTree:
    return SysTree(tmp_path / "sys", tmp_path)


@pytest.mark.parametrize(
    ("life", "reserve", "told"),
    [
        ("0x01 0x01", "0x01", Wear("mmcblk0", 10, 1)),
        ("0x02 0x09", "0x02", Wear("mmcblk0", 90, 2)),
        ("0x0b 0x00", "0x03", Wear("mmcblk0", 110, 3)),
        ("0x00 0x00", "0x01", Wear("mmcblk0", None, 1)),
        ("0x03 0x01", None, Wear("mmcblk0", 30, 0)),
        (None, None, "mmcblk0"),
        ("0x00 0x00", "0x00", "mmcblk0"),
        ("rubbish", "", "mmcblk0"),
    ],
)
def test_wear_is_that_of_the_worse_part(
    tree: SysTree, tmp_path: Path, life: str | None, reserve: str | None, told: Wear | str
) -> None:
    """An eMMC tells it of two kinds of memory; who tells nothing is only named."""
    tree.disk(tmp_path, life=life, reserve=reserve)
    assert wear(tmp_path, tree.root) == told


def test_a_spool_that_is_not_there_yet_is_judged_by_its_disk(tree: SysTree, tmp_path: Path) -> None:
    """Its nearest directory says where it will be."""
    assert wear(tmp_path / "not" / "yet", tree.root) == Wear("mmcblk0", 10, 1)
    assert room(tmp_path / "not" / "yet").file_bytes == 0


def test_a_disk_that_the_kernel_does_not_name(tmp_path: Path) -> None:
    """Such as one in memory, or one made of several."""
    with pytest.raises(FileNotFoundError):
        wear(tmp_path, tmp_path / "sys")


def test_room_knows_the_database_file(tmp_path: Path) -> None:
    """Its free pages are room, too."""
    (tmp_path / "spool.db").write_bytes(bytes(4096))
    told = room(tmp_path)
    assert told.file_bytes == 4096
    assert 0 < told.free_bytes <= told.total_bytes
