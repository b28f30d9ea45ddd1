"""The Debian package: built from the tree and installed on a Debian of its own."""

import pytest

from install.conftest import INSTALL
from support.hub_machine import HubMachine

pytestmark = pytest.mark.timeout(600)

DEB = "/srv/bota-gateway_*.deb"


def apt(hub: HubMachine, command: str, *, check: bool = True) -> str:
    return hub.run("sh", "-c", f"dpkg {command}", check=check).output


def test_the_package_from_its_building_to_its_purging(bare: HubMachine) -> None:
    """It starts with a key only, survives an upgrade, and leaves recordings when it goes."""
    bare.run("/tree/scripts/package", "--wheels", "/wheels", "--output", "/srv")

    said = apt(bare, f"--install {DEB}")
    assert "it needs the API key" in said
    assert bare.shows("ActiveState") == "inactive"

    bare.run("install", "-m", "600", "/etc/key", "/etc/bota-gateway/api-key")
    bare.run("systemctl", "enable", "--now", "bota-gateway")
    assert "0 recorders" in bare.read("bota-gateway", "status")
    bare.run("sh", "-c", "echo '# mine' >>/etc/bota-gateway/config.toml")
    refused = bare.run(*INSTALL, check=False)
    assert "the Debian package bota-gateway is installed" in refused.output

    bare.run("systemctl", "disable", "--now", "bota-gateway")
    apt(bare, f"--install {DEB}")
    assert bare.shows("ActiveState") == "inactive"
    bare.run("systemctl", "enable", "--now", "bota-gateway")
    pid = bare.shows("MainPID")
    apt(bare, f"--install {DEB}")
    assert bare.shows("ActiveState") == "active"
    assert bare.shows("MainPID") != pid
    assert bare.read("tail", "-n1", "/etc/bota-gateway/config.toml") == "# mine"
    bare.run("systemd-analyze", "security", "--no-pager", "--threshold=15", "bota-gateway.service")

    apt(bare, "--remove bota-gateway")
    assert bare.shows("ActiveState") == "inactive"
    assert bare.run("sh", "-c", "ls /usr/lib/bota-gateway", check=False).code != 0
    bare.run("test", "-s", "/etc/bota-gateway/api-key")
    apt(bare, f"--install {DEB}")
    assert bare.shows("ActiveState") == "active"

    said = apt(bare, "--purge bota-gateway")
    assert "they stay: /var/lib/bota-gateway" in said
    bare.run("test", "-s", "/var/lib/bota-gateway/spool.db")
    assert bare.run("test", "-e", "/etc/bota-gateway", check=False).code != 0


def test_the_package_does_not_go_over_the_script(hub: HubMachine) -> None:
    """Two programs on one spool would be one too many: it says how to change over."""
    hub.run("/tree/scripts/package", "--wheels", "/wheels", "--output", "/srv")
    refused = apt(hub, f"--install {DEB}", check=False)
    assert "sudo scripts/install --uninstall" in refused
    assert hub.shows("ActiveState") == "active"
    hub.run(*INSTALL, "--uninstall")
    apt(hub, f"--install {DEB}")
    assert hub.shows("ActiveState") == "active"
