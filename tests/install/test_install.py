"""scripts/install, on a Debian of its own with systemd as process 1."""

import shlex
import subprocess
from pathlib import Path

import pytest

from install.conftest import INSTALL, KEY, simulate, states
from support.hub_machine import PYTHONS, HubMachine, boot

pytestmark = pytest.mark.timeout(600)

SCRIPT = Path(__file__).parents[2] / "scripts" / "install"


def exists(machine: HubMachine, path: str) -> bool:
    return machine.run("test", "-e", path, check=False).code == 0


def everything(machine: HubMachine) -> str:
    """All files that the script makes, with their owners, modes and times."""
    places = "/opt/bota-gateway /etc/bota-gateway /etc/systemd/system /etc/sysusers.d /usr/local/bin"
    return machine.read("sh", "-c", f"find {places} ! -type d -printf '%p %l %u %m %s %T@\\n' | sort")


@pytest.mark.parametrize("typed", [[], ["--uninstall"], ["--upgrade", "--key-file", "a key"]])
def test_who_is_not_root_is_told_to_type_the_same_with_sudo(tmp_path: Path, typed: list[str]) -> None:
    """To the letter: without its options the command for taking the service away would install it."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    refused = subprocess.run(  # noqa: S603 - our own script
        [SCRIPT, *typed], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert shlex.split(refused.stderr.rpartition("Type: ")[2]) == ["sudo", "scripts/install", *typed]


@pytest.mark.parametrize("suite", PYTHONS)
def test_one_command_makes_a_running_service_and_a_second_one_changes_nothing(tree: Path, suite: str) -> None:
    """It runs, starts with the machine, and is left alone when the script is run again; so is the configuration.

    Root's files being for root alone, on a hub that is kept with care, keeps nothing from the service.
    """
    with boot(tree, suite=suite) as bare:
        bare.run("systemctl", "mask", "bluetooth.service")
        bare.write("/etc/key", KEY + "\n")
        first = bare.run("sh", "-c", 'umask 077 && exec "$@"', "sh", *INSTALL, "--key-file", "/etc/key")
        assert bare.shows("ActiveState") == "active"
        assert bare.read("systemctl", "is-enabled", "bota-gateway") == "enabled"
        assert "0 recorders, 0 receiving, 0 waiting, cloud not asked yet, radio in trouble: " in first.output
        assert "sudo bota-gateway status" in first.output
        assert "nothing had to be changed" not in first.output
        assert bare.read("stat", "--format=%a %U", "/etc/bota-gateway/api-key") == "600 root"
        assert KEY not in first.output + bare.read("journalctl", "--no-pager", "--output=export")
        assert bare.read("sh", "-c", "ls /opt/bota-gateway/versions | wc -l") == "1"
        bare.run("sh", "-c", "echo '# mine' >>/etc/bota-gateway/config.toml")
        before = bare.shows("MainPID"), everything(bare)
        second = bare.run(*INSTALL)
        assert "nothing had to be changed" in second.output
        assert "bota-gateway status" in second.output
        assert (bare.shows("MainPID"), everything(bare)) == before
        assert bare.read("tail", "-n1", "/etc/bota-gateway/config.toml") == "# mine"


def test_what_is_missing_is_put_back(hub: HubMachine) -> None:
    """Run again, it mends what somebody has taken away, and says no longer that nothing had to be changed."""
    hub.run("systemctl", "disable", "--now", "bota-gateway")
    hub.run("rm", "/etc/systemd/system/bota-gateway.service", "/usr/local/bin/bota-gateway")
    said = hub.run(*INSTALL, "--sim")
    assert "nothing had to be changed" not in said.output
    assert hub.shows("ActiveState") == "active"
    assert hub.read("systemctl", "is-enabled", "bota-gateway") == "enabled"
    assert "bota-gateway" in hub.read("bota-gateway", "--version")


def test_the_key_is_asked_for_without_echo(hub: HubMachine) -> None:
    """Who installs by hand types the key, and nobody behind them reads it; who types none is told, and nothing done."""
    hub.run("rm", "/etc/bota-gateway/api-key")
    empty = hub.dialogue(*INSTALL, "--sim", prompt="API key of the project", answer="")
    assert (empty.code, "no key was typed" in empty.output) == (1, True)
    hub.write("/etc/key", "")
    assert "is empty" in hub.run(*INSTALL, "--sim", "--key-file", "/etc/key", check=False).output
    assert not exists(hub, "/etc/bota-gateway/api-key")
    asked = hub.dialogue(*INSTALL, "--sim", prompt="API key of the project", answer=KEY)
    assert asked.code == 0, asked.output
    assert KEY not in asked.output
    assert hub.read("cat", "/etc/bota-gateway/api-key") == KEY
    assert hub.shows("ActiveState") == "active"


def test_without_a_key_and_without_a_person_nothing_is_done(bare: HubMachine) -> None:
    """It says which option gives the key, or that nothing can be upgraded, before anything is fetched or written."""
    refused = bare.run(*INSTALL, check=False)
    assert refused.code == 1
    assert "--key-file FILE" in refused.output
    refused = bare.run(*INSTALL, "--upgrade", check=False)
    assert refused.code == 1
    assert "nothing is installed" in refused.output
    assert not exists(bare, "/opt/bota-gateway")
    assert not exists(bare, "/etc/bota-gateway")


def test_what_is_no_key_is_refused_and_not_repeated(hub: HubMachine) -> None:
    """A line pasted from elsewhere never gets in place of a key; what was pasted is a secret all the same."""
    pid = hub.shows("MainPID")
    hub.write("/etc/key", "hunter2 hunter2\n")
    refused = hub.run(*INSTALL, "--sim", "--key-file", "/etc/key", check=False)
    assert refused.code == 1
    assert "sk_live_" in refused.output
    assert "hunter2" not in refused.output
    assert hub.read("cat", "/etc/bota-gateway/api-key") == KEY
    assert hub.shows("MainPID") == pid


def test_a_new_key_takes_the_place_of_the_old_one(hub: HubMachine) -> None:
    """The service is restarted with it."""
    pid = hub.shows("MainPID")
    hub.write("/etc/key", "sk_test_another\n")
    hub.run(*INSTALL, "--sim", "--key-file", "/etc/key")
    assert hub.read("cat", "/etc/bota-gateway/api-key") == "sk_test_another"
    assert hub.read("stat", "--format=%a %U", "/etc/bota-gateway/api-key") == "600 root"
    assert hub.shows("MainPID") not in {pid, "0"}


def test_purging_says_how_many_recordings_there_are_and_uninstalling_keeps_them(hub: HubMachine) -> None:
    """What people said outlives the program; who deletes it knows that the cloud does not have it."""
    simulate(hub, 100_000, rate=20)
    hub.until(lambda: states(hub) == ["receiving"], "transfer")
    hub.run("systemctl", "stop", "cloud")
    hub.until(lambda: states(hub) == ["captured"], "capture")

    unasked = hub.run(*INSTALL, "--purge", check=False)
    assert unasked.code == 1
    asked = hub.dialogue(*INSTALL, "--purge", prompt="Type yes", answer="no")
    assert asked.code == 1
    assert "1 recordings in /var/lib/bota-gateway were not uploaded yet" in asked.output
    assert "nothing is deleted" in asked.output

    said = hub.run(*INSTALL, "--uninstall")
    assert "recordings stay in /var/lib/bota-gateway" in said.output
    for gone in ("/opt/bota-gateway", "/usr/local/bin/bota-gateway", "/etc/systemd/system/bota-gateway.service"):
        assert not exists(hub, gone)
    for kept in ("/var/lib/bota-gateway/spool.db", "/etc/bota-gateway/api-key", "/etc/bota-gateway/config.toml"):
        assert exists(hub, kept)
    assert hub.shows("ActiveState") == "inactive"

    purged = hub.run(*INSTALL, "--purge", "--yes")
    assert "an unknown number of recordings in /var/lib/bota-gateway were not uploaded yet" in purged.output
    for gone in ("/var/lib/bota-gateway", "/etc/bota-gateway"):
        assert not exists(hub, gone)
