"""Trees laid out like the kernel's: what ``/sys`` tells of Bluetooth and of the disk."""

import os
from pathlib import Path


class SysTree:
    """A ``/sys`` of a hub with one controller, one unblocked kill switch, and its spool on an eMMC as good as new."""

    def __init__(self, root: Path, spool: Path) -> None:
        self.root = root
        self.controller("hci0")
        self.kill_switch("rfkill0")
        self.disk(spool)

    def write(self, path: str, text: str) -> None:
        """One attribute."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def controller(self, name: str, *, supervision: int = 72, shortest: int = 24, longest: int = 40) -> None:
        """A controller with its parameters in debugfs, in HCI's units."""
        (self.root / "class/bluetooth" / name).mkdir(parents=True, exist_ok=True)
        for key, value in (
            ("supervision_timeout", supervision),
            ("conn_min_interval", shortest),
            ("conn_max_interval", longest),
        ):
            self.write(f"kernel/debug/bluetooth/{name}/{key}", f"{value}\n")

    def kill_switch(self, name: str, *, kind: str = "bluetooth", soft: int = 0, hard: int = 0) -> None:
        """A switch of rfkill."""
        for key, value in (("type", kind), ("name", "hci0"), ("soft", soft), ("hard", hard)):
            self.write(f"class/rfkill/{name}/{key}", f"{value}\n")

    def disk(self, spool: Path, *, life: str | None = "0x01 0x01", reserve: str | None = "0x01") -> None:
        """The eMMC (None: an SD card, which tells nothing) with a partition that the directory is on."""
        device = self.root / "devices/mmc0/block/mmcblk0"
        self.write("devices/mmc0/block/mmcblk0/mmcblk0p2/partition", "2\n")
        for key, value in (("life_time", life), ("pre_eol_info", reserve)):
            (device / "device").mkdir(exist_ok=True)
            (device / "device" / key).unlink(missing_ok=True)
            if value is not None:
                (device / "device" / key).write_text(f"{value}\n")
        number = spool.stat().st_dev
        link = self.root / f"dev/block/{os.major(number)}:{os.minor(number)}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(device / "mmcblk0p2")
