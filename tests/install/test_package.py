"""The Debian package: built from the tree and installed on a Debian of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from install.conftest import INSTALL, KEY
from support.hub_machine import HubMachine, boot

pytestmark = pytest.mark.timeout(600)

DEB = "/mnt/package/bota-gateway_*.deb"


@pytest.fixture
def bare(tree: Path, package: Path) -> Iterator[HubMachine]:
    """A hub as it comes from the shop, with the package at hand."""
    with boot(tree, binds=[package]) as machine:
        machine.run("systemctl", "mask", "bluetooth.service")
        machine.write("/etc/key", KEY + "\n")
        yield machine


@pytest.fixture
def hub(tree: Path, installed: Path, package: Path) -> Iterator[HubMachine]:
    """A hub with the gateway installed by the script, with the package at hand."""
    with boot(tree, system=installed, binds=[package]) as machine:
        yield machine


def dpkg(hub: HubMachine, command: str, *, check: bool = True) -> str:
    return hub.run("sh", "-c", f"dpkg {command}", check=check).output


def test_the_package_from_its_installation_to_its_purging(bare: HubMachine) -> None:
    """It starts with a key only, survives an upgrade, and leaves recordings when it goes."""
    said = dpkg(bare, f"--install {DEB}")
    assert "it needs the API key" in said
    assert bare.shows("ActiveState") == "inactive"

    bare.run("install", "-m", "600", "/etc/key", "/etc/bota-gateway/api-key")
    bare.run("systemctl", "enable", "--now", "bota-gateway")
    assert "0 recorders" in bare.read("bota-gateway", "status")
    bare.run("sh", "-c", "echo '# mine' >>/etc/bota-gateway/config.toml")
    refused = bare.run(*INSTALL, check=False)
    assert "the Debian package bota-gateway is installed" in refused.output

    bare.run("systemctl", "disable", "--now", "bota-gateway")
    dpkg(bare, f"--install {DEB}")
    assert bare.shows("ActiveState") == "inactive"
    bare.run("systemctl", "enable", "--now", "bota-gateway")
    pid = bare.shows("MainPID")
    dpkg(bare, f"--install {DEB}")
    assert bare.shows("ActiveState") == "active"
    assert bare.shows("MainPID") != pid
    assert bare.read("tail", "-n1", "/etc/bota-gateway/config.toml") == "# mine"
    bare.run("systemd-analyze", "security", "--no-pager", "--threshold=15", "bota-gateway.service")

    dpkg(bare, "--remove bota-gateway")
    assert bare.shows("ActiveState") == "inactive"
    assert bare.run("sh", "-c", "ls /usr/lib/bota-gateway", check=False).code != 0
    bare.run("test", "-s", "/etc/bota-gateway/api-key")
    dpkg(bare, f"--install {DEB}")
    assert bare.shows("ActiveState") == "active"

    said = dpkg(bare, "--purge bota-gateway")
    assert "they stay: /var/lib/bota-gateway" in said
    bare.run("test", "-s", "/var/lib/bota-gateway/spool.db")
    assert bare.run("test", "-e", "/etc/bota-gateway", check=False).code != 0


def test_a_package_that_can_not_be_upgraded_runs_on(bare: HubMachine) -> None:
    """A full disk, for example: dpkg goes back to what was there, and the gateway goes on as before."""
    dpkg(bare, f"--install {DEB}")
    bare.run("install", "-m", "600", "/etc/key", "/etc/bota-gateway/api-key")
    bare.run("systemctl", "enable", "--now", "bota-gateway")
    bare.run("sh", "-c", f"dpkg-deb --raw-extract {DEB} /srv/next && echo 'exit 1' >>/srv/next/DEBIAN/preinst")
    bare.run("dpkg-deb", "-Znone", "--build", "/srv/next", "/srv/next.deb")
    assert "error processing archive" in dpkg(bare, "--install /srv/next.deb", check=False)
    assert bare.shows("ActiveState") == "active"


def test_script_and_package_give_way_to_each_other(hub: HubMachine) -> None:
    """Two programs on one spool would be one too many: each says how to change over, and leaves room for the other."""
    refused = dpkg(hub, f"--install {DEB}", check=False)
    assert "sudo scripts/install --uninstall" in refused
    assert hub.shows("ActiveState") == "active"
    hub.run("cp", "-a", "/opt/bota-gateway", "/opt/kept")
    hub.run(*INSTALL, "--uninstall")
    dpkg(hub, f"--install {DEB}")
    assert hub.shows("ActiveState") == "active"
    dpkg(hub, "--remove bota-gateway")
    hub.run("mv", "/opt/kept", "/opt/bota-gateway")  # as if built anew
    hub.run(*INSTALL, "--sim")
    assert hub.shows("ActiveState") == "active"
    assert hub.read("readlink", "--canonicalize", "/usr/local/bin/bota-gateway").startswith(
        "/opt/bota-gateway/versions/"
    )
