"""scripts/install, on a Debian of its own with systemd as process 1."""

import pytest

from install.conftest import INSTALL, KEY, simulate, states
from support.hub_machine import HubMachine

pytestmark = pytest.mark.timeout(600)


def exists(machine: HubMachine, path: str) -> bool:
    return machine.run("test", "-e", path, check=False).code == 0


def test_one_command_makes_a_running_service_and_a_second_one_changes_nothing(bare: HubMachine) -> None:
    """It runs, starts with the machine, and is left alone when the script is run again; so is the configuration."""
    first = bare.run(*INSTALL, "--key-file", "/etc/key")
    assert bare.shows("ActiveState") == "active"
    assert bare.read("systemctl", "is-enabled", "bota-gateway") == "enabled"
    assert "0 recorders, 0 receiving, 0 waiting, cloud not asked yet, radio in trouble: " in first.output
    assert "sudo bota-gateway status" in first.output
    assert bare.read("stat", "--format=%a %U", "/etc/bota-gateway/api-key") == "600 root"
    assert KEY not in first.output + bare.read("journalctl", "--no-pager", "--output=export")
    pid = bare.shows("MainPID")
    bare.run("sh", "-c", "echo '# mine' >>/etc/bota-gateway/config.toml")
    second = bare.run(*INSTALL)
    assert "bota-gateway status" in second.output
    assert bare.shows("MainPID") == pid
    assert bare.read("tail", "-n1", "/etc/bota-gateway/config.toml") == "# mine"
    assert bare.read("sh", "-c", "ls /opt/bota-gateway/versions | wc -l") == "1"


def test_the_key_is_asked_for_without_echo(bare: HubMachine) -> None:
    """Who installs by hand types the key, and nobody behind them reads it."""
    asked = bare.dialogue(*INSTALL, prompt="API key of the project", answer=KEY)
    assert asked.code == 0, asked.output
    assert KEY not in asked.output
    assert bare.read("cat", "/etc/bota-gateway/api-key") == KEY
    assert bare.shows("ActiveState") == "active"


def test_without_a_key_and_without_a_person_nothing_is_done(bare: HubMachine) -> None:
    """It says which option gives the key, before it downloads or writes anything."""
    refused = bare.run(*INSTALL, check=False)
    assert refused.code == 1
    assert "--key-file FILE" in refused.output
    assert not exists(bare, "/opt/bota-gateway")
    assert not exists(bare, "/etc/bota-gateway")


def test_what_is_no_key_is_refused_and_not_repeated(bare: HubMachine) -> None:
    """A line pasted from elsewhere never gets in place of a key; what was pasted is a secret all the same."""
    bare.write("/etc/key", "hunter2 hunter2\n")
    refused = bare.run(*INSTALL, "--key-file", "/etc/key", check=False)
    assert refused.code == 1
    assert "sk_live_" in refused.output
    assert "hunter2" not in refused.output
    assert not exists(bare, "/etc/bota-gateway/api-key")


def test_a_new_key_takes_the_place_of_the_old_one(hub: HubMachine) -> None:
    """The service is restarted with it."""
    pid = hub.shows("MainPID")
    hub.write("/etc/key", "sk_test_another\n")
    hub.run(*INSTALL, "--sim", "--key-file", "/etc/key")
    assert hub.read("cat", "/etc/bota-gateway/api-key") == "sk_test_another"
    assert hub.shows("MainPID") not in {pid, "0"}


def test_uninstalling_keeps_the_recordings_and_purging_says_how_many_there_are(hub: HubMachine) -> None:
    """What people said outlives the program; who deletes it knows that the cloud does not have it."""
    simulate(hub, 100_000, rate=20)
    hub.until(lambda: states(hub) == ["receiving"], "transfer")
    hub.run("systemctl", "stop", "cloud")
    hub.until(lambda: states(hub) == ["captured"], "capture")

    said = hub.run(*INSTALL, "--uninstall")
    assert "recordings stay in /var/lib/bota-gateway" in said.output
    for gone in ("/opt/bota-gateway", "/usr/local/bin/bota-gateway", "/etc/systemd/system/bota-gateway.service"):
        assert not exists(hub, gone)
    for kept in ("/var/lib/bota-gateway/spool.db", "/etc/bota-gateway/api-key", "/etc/bota-gateway/config.toml"):
        assert exists(hub, kept)
    assert hub.shows("ActiveState") == "inactive"

    hub.run(*INSTALL)
    unasked = hub.run(*INSTALL, "--purge", check=False)
    assert unasked.code == 1
    assert exists(hub, "/var/lib/bota-gateway/spool.db")
    asked = hub.dialogue(*INSTALL, "--purge", prompt="Type yes", answer="no")
    assert asked.code == 1
    assert "nothing is deleted" in asked.output
    assert exists(hub, "/var/lib/bota-gateway/spool.db")
    purged = hub.run(*INSTALL, "--purge", "--yes")
    assert "1 recordings in /var/lib/bota-gateway were not uploaded yet" in purged.output
    for gone in ("/opt/bota-gateway", "/var/lib/bota-gateway", "/etc/bota-gateway"):
        assert not exists(hub, gone)
