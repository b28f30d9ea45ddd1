"""scripts/install --upgrade: forwards, and back where the new version does not get ready."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bota_gateway.spool.const import SCHEMA_VERSION
from support.hub_machine import HubMachine, boot, clone

pytestmark = pytest.mark.timeout(600)

UPGRADE = ("/mnt/next/scripts/install", "--upgrade", "--no-apt", "--wheels", "/wheels", "--ready-within", "12")
NEVER_READY = ("src/bota_gateway/daemon/signs.py", "        self._manager.ready()\n", "")
NEWER_SCHEMA = (
    "src/bota_gateway/spool/const.py",
    f"SCHEMA_VERSION = {SCHEMA_VERSION}\n",
    f"SCHEMA_VERSION = {SCHEMA_VERSION + 1}\n",
)
MORE = "CREATE TABLE more (number INTEGER) STRICT;"
Change = tuple[str, str, str]
NextVersion = Callable[..., AbstractContextManager[HubMachine]]


@pytest.fixture
def next_version(tree: Path, installed: Path, tmp_path: Path) -> NextVersion:
    """Boots a hub that has another version of the tree at hand, with changes and perhaps a newer schema."""

    @contextmanager
    def begin(*changes: Change, schema: str | None = None) -> Iterator[HubMachine]:
        new = clone(tmp_path / "next")
        for name, before, after in (("pyproject.toml", 'version = "0.', 'version = "9.'), *changes):
            text = (new / name).read_text()
            assert text.count(before) == 1
            (new / name).write_text(text.replace(before, after))
        if schema is not None:
            (new / f"src/bota_gateway/spool/schema/{SCHEMA_VERSION + 1:03}.sql").write_text(schema)
        with boot(tree, system=installed, binds=[new]) as machine:
            machine.write("/etc/bota-gateway/config.toml", "# mine\n")
            yield machine

    return begin


def version(hub: HubMachine) -> str:
    return hub.read("basename", hub.read("readlink", "/opt/bota-gateway/current"))


def digest(hub: HubMachine) -> str:
    return hub.read("sha256sum", "/var/lib/bota-gateway/spool.db")


def refused(hub: HubMachine, *command: str) -> str:
    """Run what must fail and leave the service alone; gives back what it says."""
    before = version(hub), hub.shows("MainPID")
    said = hub.run(*command, check=False)
    assert said.code == 1, said.output
    assert (version(hub), hub.shows("MainPID")) == before
    return said.output


def test_an_upgrade_keeps_configuration_and_spool(next_version: NextVersion) -> None:
    """It has to be asked for, must like the configuration, and leaves neither the old program nor the spool's copy.

    Nobody needs to look on: it goes on when the terminal that it was begun on goes away.
    """
    with next_version(NEWER_SCHEMA, schema=MORE) as hub:
        assert "scripts/install --upgrade" in refused(hub, *(word for word in UPGRADE if word != "--upgrade"))
        hub.write("/etc/bota-gateway/config.toml", "[radio]\nmax_link = 3\n")
        assert "did you mean radio.max_links?" in refused(hub, *UPGRADE)
        hub.write("/etc/bota-gateway/config.toml", "# mine\n")
        cut_off = hub.dialogue(*UPGRADE[:-1], "60", prompt="starting the service", answer=None)
        assert version(hub).startswith("9."), hub.journal()
        assert "copying the spool" in cut_off.output
        assert "9." in hub.read("bota-gateway", "--version")
        assert hub.shows("ActiveState") == "active"
        assert hub.read("cat", "/etc/bota-gateway/config.toml") == "# mine"
        assert hub.read("sh", "-c", "ls /opt/bota-gateway/versions | wc -l") == "1"
        assert hub.journal("EVENT=spool_migrated", f"TO_VERSION={SCHEMA_VERSION + 1}")
        assert not hub.journal("EVENT=spool_set_aside")
        assert hub.run("sh", "-c", "ls -d /var/lib/bota-gateway/before-*", check=False).code != 0


def test_a_version_that_does_not_get_ready_is_taken_back(next_version: NextVersion) -> None:
    """The old version runs again, on its spool; so it does when a person loses patience first, or their connection."""
    with next_version(NEVER_READY) as hub:
        old = version(hub)
        failed = hub.run(*UPGRADE[:-1], "4", check=False)
        assert failed.code == 1
        assert re.search(rf"9\.\S+ did not get ready; {re.escape(old)} is back and runs", failed.output), failed.output
        assert version(hub) == old
        assert hub.shows("ActiveState") == "active"
        assert "0." in hub.read("bota-gateway", "--version")

        hub.run("systemd-run", "--unit=upgrade", *UPGRADE[:-1], "200")
        hub.until(lambda: version(hub) != old, "the switch")
        hub.run("systemctl", "kill", "--signal=INT", "upgrade.service")
        hub.until(lambda: hub.run("systemctl", "is-active", "upgrade.service", check=False).code != 0, "the way back")
        assert (version(hub), hub.shows("ActiveState")) == (old, "active")

        cut_off = hub.dialogue(*UPGRADE[:-1], "4", prompt="starting the service", answer=None)
        assert "upgrading from" in cut_off.output
        assert (version(hub), hub.shows("ActiveState")) == (old, "active")
        assert hub.run("test", "-L", "/opt/bota-gateway/previous", check=False).code != 0


def test_a_newer_schema_is_taken_back_together_with_its_version(next_version: NextVersion) -> None:
    """An old version could not open the spool: the copy from before takes its place, if nothing happened since.

    Also when the power went meanwhile, and only the next run finds that the new version does not get ready.
    """
    with next_version(NEVER_READY, NEWER_SCHEMA, schema=MORE) as hub:
        old = version(hub)
        hub.run("systemctl", "stop", "bota-gateway")
        before = digest(hub)
        hub.run("systemd-run", "--unit=upgrade", "--property=StandardError=file:/run/said", *UPGRADE[:-1], "200")
        hub.until(lambda: bool(hub.journal("EVENT=spool_migrated", f"TO_VERSION={SCHEMA_VERSION + 1}")), "migration")
        hub.run("systemctl", "kill", "--signal=KILL", "upgrade.service")
        assert "copying the spool" in hub.read("cat", "/run/said")
        hub.run("systemctl", "kill", "--signal=KILL", "bota-gateway.service")
        assert version(hub) != old

        failed = hub.run(*UPGRADE[:-1], "6", check=False)
        assert failed.code == 1
        assert f"an upgrade from {old} was interrupted" in failed.output
        assert f"{old} is back and runs" in failed.output
        assert version(hub) == old
        assert hub.shows("ActiveState") == "active", hub.journal()
        assert not hub.journal("EVENT=spool_set_aside")
        hub.run("systemctl", "stop", "bota-gateway")
        assert digest(hub) == before
        assert hub.run("sh", "-c", "ls -d /var/lib/bota-gateway/before-*", check=False).code != 0


def test_a_program_that_can_not_start_any_more_is_replaced(next_version: NextVersion) -> None:
    """Where Debian itself was upgraded, its new Python can't run what was installed for the old one."""
    with next_version() as hub:
        hub.run("ln", "-sfn", "/bin/false", f"/opt/bota-gateway/versions/{version(hub)}/bin/python3")
        hub.run("systemctl", "restart", "bota-gateway", check=False)
        before = hub.read("stat", "--format=%i", "/var/lib/bota-gateway/spool.db")
        said = hub.run(*UPGRADE[:-1], "60")
        assert version(hub).startswith("9.")
        assert f"bota-gateway {version(hub)} runs" in said.output
        assert hub.shows("ActiveState") == "active"
        assert hub.read("stat", "--format=%i", "/var/lib/bota-gateway/spool.db") == before


def test_a_full_disk_stops_an_upgrade_before_it_changes_anything(next_version: NextVersion) -> None:
    """The gateway runs on, and what was unpacked of the new version takes no room from recordings."""
    with next_version() as hub:
        hub.run("sh", "-ec", """
            cd /opt && cp -a bota-gateway kept
            room=$(($(du --summarize --block-size=1M kept | cut -f1) + 40))
            mount -t tmpfs -o size=${room}M tmpfs bota-gateway && cp -a kept/. bota-gateway""")  # fmt: skip
        said = refused(hub, *UPGRADE)
        assert "No space left on device" in said
        assert "room on the disk" in said
        assert hub.read("ls", "/opt/bota-gateway/versions") == version(hub)
        assert hub.shows("ActiveState") == "active"


def test_a_newer_schema_that_recordings_moved_on_in_is_kept(next_version: NextVersion) -> None:
    """Going back would lose what happened since: the new version stays, and the script says why."""
    happened = (
        "INSERT INTO recorders (serial, address, first_seen_at, last_seen_at) VALUES ('A1', '00:00:00:00:00:01', 1, 1);"
    )
    with next_version(NEVER_READY, NEWER_SCHEMA, schema=happened) as hub:
        failed = hub.run(*UPGRADE, check=False)
        assert failed.code == 1
        assert "recordings moved on in its spool" in failed.output
        assert version(hub).startswith("9.")
        hub.until(lambda: "A1" in hub.run("bota-gateway", "recorders", check=False).output, "the new version at work")
        assert hub.read("sh", "-c", "ls /var/lib/bota-gateway/before-*/spool.db")
