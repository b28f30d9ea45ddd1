import socket
from contextlib import suppress
from pathlib import Path

from bota_gateway.daemon.systemd import ServiceManager


def test_systemd_hears_readiness_status_and_signs_of_life(tmp_path: Path) -> None:
    """The messages of sd_notify(3) arrive on the socket that systemd names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        told = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
        told.ready()
        told.status("two\nlines")
        told.alive()
        told.stopping()
        heard = [manager.recv(1024) for _ in range(4)]
    assert heard == [b"READY=1", b"STATUS=two lines", b"WATCHDOG=1", b"STOPPING=1"]
    assert told.watchdog_s == 30


def test_a_manager_that_does_not_listen_holds_nobody_up(tmp_path: Path) -> None:
    """Its socket takes a few hundred messages at most; what comes beyond is dropped instead of waiting for room."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        told = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(5000):
            told.alive()
        heard = 0
        with suppress(BlockingIOError):
            while manager.recv(1024):
                heard += 1
    assert 0 < heard < 5000


def test_without_systemd_nothing_is_said(tmp_path: Path) -> None:
    """In a terminal there is nobody to notify, and a manager that is gone does no harm."""
    ServiceManager({}).ready()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()
    assert ServiceManager({}).watchdog_s == 0
