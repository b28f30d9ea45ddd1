import shutil
from pathlib import Path

import pytest

from bota_gateway.radio.kernel import KillSwitch, controllers, kill_switches, link_defaults
from support.hub_files import SysTree


@pytest.fixture
def tree(tmp_path: Path) -> SysTree:
    return SysTree(tmp_path / "sys", tmp_path)


def test_controllers_are_told_from_their_links(tree: SysTree) -> None:
    """The kernel lists both in one directory."""
    tree.controller("hci1")
    (tree.root / "class/bluetooth/hci0:64").mkdir()
    assert controllers(tree.root) == ["hci0", "hci1"]
    assert controllers(tree.root / "nowhere") == []


def test_only_switches_of_bluetooth_count(tree: SysTree) -> None:
    """A blocked Wi-Fi does not concern the radio."""
    tree.kill_switch("rfkill1", kind="wlan", soft=1)
    tree.kill_switch("rfkill2", hard=1)
    assert kill_switches(tree.root) == [
        KillSwitch("hci0", soft=False, hard=False),
        KillSwitch("hci0", False, hard=True),
    ]
    shutil.rmtree(tree.root / "class/rfkill")
    assert kill_switches(tree.root) == []


def test_link_defaults_come_in_seconds(tree: SysTree) -> None:
    """The kernel's own defaults: 420 ms, 30 ms and 50 ms."""
    tree.controller("hci0", supervision=42, shortest=24, longest=40)
    told = link_defaults(tree.root, "hci0")
    assert (told.supervision_s, told.shortest_interval_s, told.longest_interval_s) == pytest.approx((0.42, 0.03, 0.05))


def test_link_defaults_of_a_controller_without_them(tree: SysTree) -> None:
    """An error that the caller can tell from a value."""
    with pytest.raises(FileNotFoundError):
        link_defaults(tree.root, "hci7")
    tree.write("kernel/debug/bluetooth/hci0/conn_min_interval", "")
    with pytest.raises(ValueError, match="invalid literal"):
        link_defaults(tree.root, "hci0")
