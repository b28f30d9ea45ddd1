"""The doctor on the machine and on the spool: real files, a real database, a real lock."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from bota_gateway.cli.doctor import spool as spool_checks
from bota_gateway.cli.doctor.hub import Card, Clock, Disk
from bota_gateway.errors import SpoolError, StatusError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import DATABASE_NAME
from support.doctoring import Patient, answering, patient, problem
from support.emulated_cloud import START, emulated
from support.emulated_cloud import Clock as StillClock
from support.spooling import TurnableClock, bring_to, settings_for

SpoolCheck = spool_checks.Spool


@pytest.fixture
def hub(tmp_path: Path) -> Patient:
    return patient(tmp_path)


# -- clock -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "behind_s", "codes"),
    [
        (True, 0, ["clock_kept", "clock_agrees"]),
        (False, 0, ["clock_unkept", "clock_agrees"]),
        (True, 3600, ["clock_kept", "clock_off"]),
        (False, -86_400, ["clock_unkept", "clock_off"]),
    ],
)
async def test_the_clock_is_judged_by_kernel_and_cloud(
    hub: Patient, trusted: bool, behind_s: float, codes: list[str]
) -> None:
    """Whether something keeps it, and whether it is right."""
    async with emulated() as client:
        hub.sections["cloud"] = {"api_base": client.cloud.api_base, "api_key": client.cloud.api_key}
        hub.change(clock_is_trusted=lambda: trusted, now=StillClock(START - behind_s))
        assert await hub.codes(Clock) == codes


async def test_without_network_the_kernel_alone_is_asked(hub: Patient) -> None:
    """And without a configuration as well."""
    assert await hub.codes(Clock) == ["clock_kept"]


# -- disk --------------------------------------------------------------------------------------------------------------


async def test_room_on_the_disk(hub: Patient) -> None:
    """Against the floor, the longest recording and the quota, by what the file system says."""
    free = shutil.disk_usage(hub.place).free
    hub.sections["wire"] = {"max_recording_bytes": 1 << 20}
    for spool, code, verdict in (
        ({"min_free_bytes": 0, "max_bytes": free // 2}, "disk_roomy", "ok"),
        ({"min_free_bytes": 0, "max_bytes": free * 2}, "disk_small", "warning"),
        ({"min_free_bytes": free * 2}, "disk_full", "failure"),
    ):
        hub.sections["spool"] = spool
        (found,) = await hub.look(Disk)
        assert (found.code, found.verdict) == (code, verdict)
    hub.sections |= {"spool": {"min_free_bytes": free // 2}, "wire": {"max_recording_bytes": free}}
    assert await hub.codes(Disk) == ["disk_tight"]


async def test_a_disk_that_can_t_be_asked(hub: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are told."""

    def gone(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("bota_gateway.spool.disk.room", gone)
    (found,) = await hub.look(Disk)
    assert (found.code, "Input/output error" in found.found) == ("disk_unknown", True)


# -- card --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "reserve", "code", "verdict"),
    [
        ("0x01 0x03", "0x01", "card_fresh", "ok"),
        ("0x00 0x00", "0x01", "card_fresh", "ok"),
        ("0x09 0x01", "0x01", "card_worn", "warning"),
        ("0x01 0x01", "0x02", "card_worn", "warning"),
        ("0x01 0x0b", "0x01", "card_dead", "failure"),
        ("0x01 0x01", "0x03", "card_dead", "failure"),
        (None, None, "card_silent", "not_checked"),
    ],
)
async def test_wear_of_the_card(hub: Patient, life: str | None, reserve: str | None, code: str, verdict: str) -> None:
    """Its life and its spare blocks, as an eMMC tells them."""
    hub.sys.disk(hub.place, life=life, reserve=reserve)
    (found,) = await hub.look(Card)
    assert (found.code, found.verdict, "mmcblk0" in found.found) == (code, verdict, True)


async def test_a_disk_that_the_kernel_does_not_name(hub: Patient) -> None:
    """Nothing is said of its wear."""
    shutil.rmtree(hub.sys.root / "dev")
    assert await hub.codes(Card) == ["card_unknown"]


# -- spool -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def held(hub: Patient) -> Path:
    """A closed spool with one recording in each state."""
    async with Spool.open(settings_for(hub.spool), TurnableClock()) as spool:
        for number, state in enumerate(Custody):
            await bring_to(spool, state, number)
    return hub.spool


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_a_whole_spool(hub: Patient, held: Path) -> None:
    """Looked at, not changed, and not read to its end."""
    before = contents(held)
    (found,) = await hub.look(SpoolCheck)
    assert (found.code, found.verdict) == ("spool_whole", "ok")
    assert found.found.startswith("whole; 11 recordings, 4 not in the cloud yet")
    assert contents(held) == before


async def test_no_spool_yet(hub: Patient) -> None:
    """A fresh hub has none, and gets none from being looked at."""
    assert await hub.codes(SpoolCheck) == ["spool_new"]
    assert not hub.spool.exists()


async def test_a_damaged_spool(hub: Patient, held: Path) -> None:
    """What is wrong first, how much there is, and the way to all of it."""
    database = sqlite3.connect(held / DATABASE_NAME)
    with database:
        database.execute("UPDATE recordings SET cloud_id = NULL WHERE state = 'created'")
    database.close()
    (found,) = await hub.look(SpoolCheck)
    assert (found.code, found.verdict) == ("spool_damaged", "failure")
    assert found.found.startswith("1 faults, the first: It is created and has no cloud_id.")
    assert found.remedy.endswith("sudo bota-gateway fsck")


async def test_a_spool_that_is_none(hub: Patient) -> None:
    """Another program's database is a failure with its own remedy."""
    hub.spool.mkdir()
    database = sqlite3.connect(hub.spool / DATABASE_NAME)
    database.execute("CREATE TABLE photos (id)")
    database.close()
    (found,) = await hub.look(SpoolCheck)
    assert (found.code, "[spool_foreign]" in found.found) == ("spool_trouble", True)


async def test_one_that_was_set_aside_is_pointed_to(hub: Patient, held: Path) -> None:
    """The present one is whole all the same."""
    (held / "set-aside-20260101T000000Z").mkdir()
    assert await hub.codes(SpoolCheck) == ["spool_whole", "spool_note"]


async def test_a_spool_in_use_is_never_opened(hub: Patient) -> None:
    """No gateway answers, and yet one has it open: the lock says so, and the database stays closed."""
    async with Spool.open(settings_for(hub.spool), TurnableClock()):
        (found,) = await hub.look(SpoolCheck)
    assert (found.code, found.verdict) == ("spool_in_use", "not_checked")
    assert str(hub.socket) in found.found


async def test_a_running_gateway_is_asked_instead(hub: Patient, held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says: its file is not even looked at."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the file was opened beside a running gateway")

    monkeypatch.setattr(spool_checks, "examine", opened)
    async with answering(hub.socket):
        assert await hub.codes(SpoolCheck) == ["spool_serves"]
    async with answering(hub.socket, problems=[problem("disk", "spool_write_failed"), problem("radio", "x")]):
        (found,) = await hub.look(SpoolCheck)
    assert (found.code, found.found, found.remedy) == ("spool_trouble", "it is so [spool_write_failed]", "mend it")


@pytest.mark.parametrize("who", ["socket", "file"])
async def test_what_is_closed_to_this_user(hub: Patient, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """Neither a failure nor fine."""
    closed = SpoolError("it can't be read", code="spool_unreadable", remedy="Use sudo.")

    def refuse(*_: object, **__: object) -> None:
        if who == "socket":
            raise StatusError("You may not ask.", code="status_forbidden", remedy="Use sudo.")
        raise closed

    monkeypatch.setattr(
        *(("bota_gateway.status.client.ask", refuse) if who == "socket" else (spool_checks, "examine", refuse))
    )
    (found,) = await hub.look(SpoolCheck)
    assert (found.code, found.verdict, found.remedy) == ("spool_closed", "not_checked", "Use sudo.")
