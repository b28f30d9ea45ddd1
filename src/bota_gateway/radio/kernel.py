"""What the kernel says of Bluetooth below BlueZ: controllers, kill switches, parameters of new LE links. Reads only.

``sys_root`` is ``/sys``, or a tree laid out like it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUPERVISION_S: Final = 0.72
"""A link should outlive this much silence. The kernel's default of 420 ms lost about 3 % of the connections in one
published run on a Raspberry Pi 5, 720 ms none."""

INTERVAL_LONGEST_S: Final = 0.1
"""Above this a link is slow: the kernel's default is 30 to 50 ms, and each interval carries a few packets at most."""

_SUPERVISION_UNIT_S: Final = 0.01
_INTERVAL_UNIT_S: Final = 0.00125
"""Units of HCI (Bluetooth Core 5.4, Vol 4, E 7.8.12), which debugfs has taken over."""


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """One of rfkill's switches for Bluetooth."""

    name: str
    soft: bool
    """Blocked by software: ``rfkill unblock bluetooth`` lifts it."""
    hard: bool
    """Blocked by a switch or key of the machine."""


@dataclass(frozen=True, slots=True)
class LinkDefaults:
    """What the kernel asks of a new LE link; a recorder may ask for something else later."""

    supervision_s: float
    """A peer silent for this long counts as gone."""
    shortest_interval_s: float
    longest_interval_s: float


def controllers(sys_root: Path) -> list[str]:
    """``hciN`` of every controller that the kernel has; links (``hci0:64``) are listed beside them and left out."""
    return sorted(path.name for path in (sys_root / "class/bluetooth").glob("hci*") if ":" not in path.name)


def kill_switches(sys_root: Path) -> list[KillSwitch]:
    """The switches for Bluetooth; none where the kernel has no rfkill, or no controller to block."""
    return [
        KillSwitch(_word(path / "name"), _word(path / "soft") == "1", _word(path / "hard") == "1")
        for path in sorted((sys_root / "class/rfkill").glob("rfkill*"))
        if _word(path / "type") == "bluetooth"
    ]


def link_defaults(sys_root: Path, controller: str) -> LinkDefaults:
    """Read them from debugfs.

    Raises:
        PermissionError: only root may.
        OSError: debugfs is not mounted, or the controller is no LE controller.
        ValueError: it says no number.
    """
    directory = sys_root / "kernel/debug/bluetooth" / controller
    return LinkDefaults(
        supervision_s=int((directory / "supervision_timeout").read_text("ascii")) * _SUPERVISION_UNIT_S,
        shortest_interval_s=int((directory / "conn_min_interval").read_text("ascii")) * _INTERVAL_UNIT_S,
        longest_interval_s=int((directory / "conn_max_interval").read_text("ascii")) * _INTERVAL_UNIT_S,
    )


def _word(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
