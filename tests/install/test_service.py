"""The service as it is installed: under its own unit and sandbox, kept by a real systemd."""

import json

import pytest

from install.conftest import SERIAL, recordings, simulate, states
from support.hub_machine import HubMachine

pytestmark = pytest.mark.timeout(600)


def settings(hub: HubMachine, text: str) -> None:
    """Settings of the service for this test, which is not as patient as a hub."""
    hub.write("/etc/systemd/system/bota-gateway.service.d/test.conf", f"[Service]\n{text}\n")
    hub.run("systemctl", "daemon-reload")
    hub.run("systemctl", "restart", "bota-gateway")


def test_it_starts_with_the_machine(hub: HubMachine) -> None:
    """After a boot it runs, without a person, and can be asked by members of its group only."""
    assert hub.shows("ActiveState") == "active"
    hub.run("useradd", "technician")
    asked = hub.run("runuser", "-u", "technician", "--", "bota-gateway", "status", check=False)
    assert asked.code != 0
    hub.run("usermod", "--append", "--groups", "bota-gateway", "technician")
    assert "0 recorders" in hub.read("runuser", "-u", "technician", "--", "bota-gateway", "status")
    for secret in ("/etc/bota-gateway/api-key", "/var/lib/bota-gateway/spool.db"):
        assert hub.run("runuser", "-u", "technician", "--", "cat", secret, check=False).code != 0


def test_recordings_arrive_out_of_the_sandbox(hub: HubMachine) -> None:
    """Pulled, spooled, uploaded and deleted on the recorder; the journal tells each story, systemd the status."""
    simulate(hub, 5_000, 60_000)
    hub.until(lambda: states(hub) == ["confirmed"] * 2, "confirmed", 120)
    hub.until(lambda: hub.shows("StatusText") == "1 recorder, 0 receiving, 0 waiting, cloud ok", "status line")
    file_id = recordings(hub)[0]["file_id"]
    story = hub.journal(f"RECORDING={file_id}")
    assert "from_version" not in story
    assert len(hub.journal(f"RECORDER={SERIAL}").splitlines()) > len(story.splitlines()) >= 5
    captured = json.loads(hub.read("journalctl", "--output=json", "EVENT=recording_captured", f"RECORDING={file_id}"))
    assert (captured["PRIORITY"], captured["RECORDER"]) == ("6", SERIAL)
    assert captured["_SYSTEMD_UNIT"] == "bota-gateway.service"
    assert hub.shows("NRestarts") == "0"


def test_a_stop_in_mid_transfer_is_orderly(hub: HubMachine) -> None:
    """SIGTERM ends it well within systemd's patience, and the recording is fetched by the next start."""
    simulate(hub, 400_000, rate=50)
    hub.until(lambda: states(hub) == ["receiving"], "transfer")
    hub.run("systemctl", "stop", "bota-gateway")
    assert (hub.shows("ActiveState"), hub.shows("Result")) == ("inactive", "success")
    assert hub.journal("EVENT=gateway_stopped")
    hub.run("systemctl", "start", "bota-gateway")
    hub.until(lambda: states(hub) == ["confirmed"], "confirmed", 120)


def test_a_hung_loop_is_ended_by_the_watchdog_and_started_again(hub: HubMachine) -> None:
    """What can't prove that it lives is replaced, and says so in the journal."""
    settings(hub, "WatchdogSec=3\nRestartSec=1")
    pid = hub.shows("MainPID")
    hub.run("sh", "-c", f"kill -STOP {pid}")
    hub.until(lambda: hub.shows("NRestarts") == "1" and hub.shows("ActiveState") == "active", "restart")
    assert hub.shows("MainPID") != pid
    assert "watchdog" in hub.read("journalctl", "--no-pager", "--unit=init.scope", "UNIT=bota-gateway.service").lower()


def test_a_quick_watchdog_does_not_end_what_works(hub: HubMachine) -> None:
    """Signs of life come often enough for any period."""
    settings(hub, "WatchdogSec=2")
    hub.run("sleep", "7")
    assert (hub.shows("NRestarts"), hub.shows("ActiveState")) == ("0", "active")


def test_a_kill_is_followed_by_a_start(hub: HubMachine) -> None:
    """Out of memory, for example; nothing is left in the way of the next life."""
    settings(hub, "RestartSec=1")
    hub.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "bota-gateway")
    hub.until(lambda: hub.shows("NRestarts") == "1" and hub.shows("ActiveState") == "active", "restart")


def test_a_bad_configuration_is_not_tried_again_and_again(hub: HubMachine) -> None:
    """It fails at once and plainly, with the setting by its name."""
    hub.write("/etc/bota-gateway/config.toml", "[radio]\nmax_link = 3\n")
    assert hub.run("systemctl", "restart", "bota-gateway", check=False).code != 0
    assert (hub.shows("ActiveState"), hub.shows("ExecMainStatus"), hub.shows("NRestarts")) == ("failed", "2", "0")
    assert "did you mean radio.max_links?" in hub.journal()


def test_the_sandbox_is_as_tight_as_it_says(hub: HubMachine) -> None:
    """The judgement of systemd on the loaded unit: 1.5 of 10 at most."""
    hub.run("systemd-analyze", "security", "--no-pager", "--threshold=15", "bota-gateway.service")


def test_it_has_no_capability_and_comes_after_bluetooth(hub: HubMachine) -> None:
    """As systemd has loaded it, and as the kernel has it of the running program."""
    status = hub.read("cat", f"/proc/{hub.shows('MainPID')}/status").splitlines()
    assert {line.split()[1] for line in status if line.startswith("Cap")} == {"0" * 16}
    after, wants = hub.shows("After").split(), hub.shows("Wants").split()
    assert {"bluetooth.service", "network-online.target"} <= set(after) & set(wants)
    assert hub.shows("Requires").find("bluetooth") == -1
    assert (hub.shows("Type"), hub.shows("Restart")) == ("notify", "on-failure")
    assert hub.shows("StartLimitIntervalUSec") == "0"
    hub.run("test", "-s", "/run/credentials/bota-gateway.service/bota-api-key")
