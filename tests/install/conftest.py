"""Machines to install into. They need root, systemd-nspawn and debootstrap; without, these tests are skipped."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hub_machine import HubMachine, alone, boot, clone, copy_system, debian, why_not

KEY = "sk_test_0123456789abcdefABCDEF"
INSTALL = ("/tree/scripts/install", "--no-apt", "--wheels", "/wheels")
SERIAL = "BOTAPIN001"
"""That of ``sim recorder``."""
CONFIG = """
[cloud]
api_base = "{api_base}"
s3_hosts = ["{s3_host}"]
share = 1.0
[spool]
min_free_bytes = 0
[radio]
adapters = ["bumble:tcp-client:127.0.0.1:9100"]
"""


def simulate(hub: HubMachine, *recordings: int, rate: int = 1000) -> None:
    """Put up a cloud and a recorder with recordings of these lengths, and let the gateway find them."""
    hub.run("systemd-run", "--unit=cloud", "--property=StandardOutput=file:/run/cloud.json",
            "bota-gateway", "sim", "cloud", "--json", "--register", SERIAL)  # fmt: skip
    hub.until(lambda: hub.run("grep", "-q", "control", "/run/cloud.json", check=False).code == 0, "cloud")
    where = json.loads(hub.read("grep", "control", "/run/cloud.json"))
    hub.run("systemd-run", "--unit=recorder", "bota-gateway", "sim", "recorder", f"--rate={rate}",
            "--transport=virtual:tcp-server:127.0.0.1:9100", *(f"--bytes={one}" for one in recordings))  # fmt: skip
    hub.until(lambda: "on the air" in hub.read("journalctl", "--unit=recorder", "--output=cat"), "recorder")
    hub.write("/etc/bota-gateway/config.toml", CONFIG.format(**where))
    hub.write("/etc/key", where["api_key"])
    hub.run(*INSTALL, "--sim", "--key-file", "/etc/key")


def recordings(hub: HubMachine) -> Any:
    """What the gateway says of them."""
    said = hub.run("bota-gateway", "recordings", "--json", check=False)
    return json.loads(said.output) if said.code == 0 else []


def states(hub: HubMachine) -> list[str]:
    """Where each recording is."""
    return [row["state"] for row in recordings(hub)]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release archive holds."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no machine to install into: {reason}")
    return clone(tmp_path_factory.mktemp("release"))


def _shared(factory: pytest.TempPathFactory) -> Path:
    """Where is what all workers share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Path:
    """The directory that the Debian package was built into; once, on a Debian of its own."""
    directory = _shared(tmp_path_factory) / "package"
    with alone(directory.with_suffix(".lock")):
        if not directory.exists():
            with boot(tree) as machine:
                machine.run("/tree/scripts/package", "--wheels", "/wheels", "--output", "/srv")
                copy_system(machine.root / "srv", directory)
    return directory


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Iterator[Path]:
    """A system with the gateway and its simulators installed by the script; made once, shared by all workers."""
    shared = _shared(tmp_path_factory)
    system = shared / "hub"
    with alone(shared / "hub.lock"):
        if not (shared / "hub.made").exists():
            copy_system(debian(), system)
            with boot(tree, system=system, keep=True) as machine:
                machine.write("/etc/key", KEY + "\n")
                # No adapter, no bluetoothd; masked, D-Bus says so at once instead of waiting for it to start.
                machine.run("systemctl", "mask", "bluetooth.service")
                machine.run(*INSTALL, "--sim", "--key-file", "/etc/key")
            (shared / "hub.made").touch()
    yield system
    if "PYTEST_XDIST_WORKER" not in os.environ:  # else another worker may still boot it
        shutil.rmtree(system)


@pytest.fixture
def bare(tree: Path) -> Iterator[HubMachine]:
    """A hub as it comes from the shop."""
    with boot(tree) as machine:
        machine.run("systemctl", "mask", "bluetooth.service")  # as above
        machine.write("/etc/key", KEY + "\n")
        yield machine


@pytest.fixture
def hub(tree: Path, installed: Path) -> Iterator[HubMachine]:
    """A hub on which the gateway was installed and which was then booted."""
    with boot(tree, system=installed) as machine:
        yield machine
