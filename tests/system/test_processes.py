"""The product as it is installed: cloud, recorders and daemon as processes, signals and exit codes."""

import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import DATABASE_NAME
from support.place import Place, audio
from support.processes import Program, program

FEW_SECONDS = 10.0
"""Within which a stop has to end, on a machine busy with other tests; on an idle one it takes less than one."""
LONG = 400_000


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A recorder with a short recording and a long one, which takes four seconds."""
    async with Place.open(tmp_path, [audio(1, 5_000), audio(2, LONG)], kilobytes_per_s=100) as opened:
        yield opened


async def stopped(hub: Program) -> float:
    """Stop it by SIGTERM; gives back how long that took."""
    asked_at = time.monotonic()
    hub.signal(signal.SIGTERM)
    assert await hub.end() == 0, hub.said
    return time.monotonic() - asked_at


async def test_the_whole_job(place: Place) -> None:
    """Recordings go from one process over a second one into a third, once and bit-identical; the stop is quick."""
    async with place.gateway() as hub:
        await hub.event("recording_deletion_seen", times=2)
        assert {one["state"] for one in await place.ask("recordings")} == {"confirmed"}
        assert await stopped(hub) < FEW_SECONDS, hub.said
    await place.assert_stored_once()
    assert not place.socket.exists()
    assert "Traceback" not in hub.said


async def test_a_stop_in_mid_transfer_is_quick_and_loses_nothing(place: Place) -> None:
    """SIGTERM ends it within seconds; the next start brings everything."""
    async with place.gateway() as hub:
        await hub.event("transfer_started", expected_kib=-(-LONG // 1024))
        await place.received(1000)
        assert await stopped(hub) < FEW_SECONDS, hub.said
        assert "Traceback" not in hub.said
    async with place.gateway() as hub:
        await hub.event("spool_opened", interrupted_transfers=0)
        await place.all_confirmed()
    await place.assert_stored_once()


async def test_a_kill_in_mid_transfer_leaves_one_recording_in_the_cloud(place: Place) -> None:
    """After SIGKILL the next start pulls it from the beginning, and the cloud gets it once."""
    async with place.gateway() as hub:
        await hub.event("transfer_started", expected_kib=-(-LONG // 1024))
        await place.received(1000)
        hub.signal(signal.SIGKILL)
        assert await hub.end() == -signal.SIGKILL
    async with place.gateway() as hub:
        await hub.event("spool_opened", interrupted_transfers=1)
        await place.all_confirmed()
        assert await stopped(hub) < FEW_SECONDS, hub.said
    await place.assert_stored_once()


async def test_a_kill_in_mid_upload_leaves_one_recording_in_the_cloud(place: Place) -> None:
    """What was created before SIGKILL is not created again: the next start sends its bytes and completes it."""
    slowly = {"route": "PUT s3", "fault": {"kind": "slow_reader", "bytes_per_s": 20_000}, "times": None}
    await place.control("POST", "/faults", slowly)
    async with place.gateway() as hub:
        await hub.event("upload_started", bytes=LONG)
        hub.signal(signal.SIGKILL)
        assert await hub.end() == -signal.SIGKILL
    await place.control("DELETE", "/faults")
    async with place.gateway() as hub:
        await place.all_confirmed()
    await place.assert_stored_once()


async def test_an_adapter_that_goes_away_in_mid_transfer_is_told_and_used_again(place: Place) -> None:
    """Status names it with the next try; when it is back the job goes on, in the same daemon."""
    async with place.gateway() as hub:
        await hub.event("transfer_started", expected_kib=-(-LONG // 1024))
        await place.received(1000)
        place.recorder.signal(signal.SIGKILL)
        await place.recorder.end()
        now = await place.until(lambda now: now["problems"], "status")
        (problem,) = now["problems"]
        assert (problem["part"], problem["code"]) == ("radio", "radio_no_adapter")
        assert problem["next_attempt_in_s"] is not None
        async with place.another_recorder() as again:
            await again.line("on the air")
            await place.all_confirmed()
            assert (await place.ask("status"))["health"] == "ok"
    await place.assert_stored_once()


async def test_a_second_daemon_on_the_same_spool_exits_3(place: Place) -> None:
    """It names the process that holds the spool, and that one goes on undisturbed."""
    async with place.gateway() as hub:
        await hub.event("gateway_started")
        async with place.gateway() as second:
            assert await second.end() == 3
        assert "[spool_locked]" in second.said
        assert str(hub.pid) in second.said
        await hub.event("recording_deletion_seen", times=2)
    await place.assert_stored_once()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[radio]\nmax_lniks = 2\n", "did you mean radio.max_links?"),
        ("[cloud]\napi_base = 'http://api.bota.dev/v1'\n", "cloud.api_base"),
        ("[cloud]\napi_key_file = '/nowhere/key'\n", "/nowhere/key"),
        ("", "BOTA_GATEWAY_CLOUD__API_KEY"),
    ],
    ids=["unknown key", "plain HTTP", "no key file", "no key"],
)
async def test_a_bad_configuration_exits_2(tmp_path: Path, text: str, named: str) -> None:
    """Before anything is opened, with the key named and the next step."""
    config = tmp_path / "config.toml"
    config.write_text(f"{text}[spool]\ndirectory = '{tmp_path}/spool'\n")
    async with program("run", "--config", config) as hub:
        assert await hub.end() == 2
    assert named in hub.said
    assert re.search(r"\n  next: \w", hub.said)
    assert not (tmp_path / "spool").exists()


async def test_a_spool_that_can_not_be_written_exits_3(tmp_path: Path) -> None:
    """Durability can't be kept: systemd is told by the exit code, people by the sentence."""
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "config.toml"
    config.write_text(f"[spool]\ndirectory = '{tmp_path}/file/spool'\n")
    async with program("run", "--config", config, env={"BOTA_GATEWAY_CLOUD__API_KEY": "sk_test_0123456789"}) as hub:
        assert await hub.end() == 3
    assert "[spool_write_failed]" in hub.said


async def test_a_key_that_others_may_read_exits_2(tmp_path: Path) -> None:
    """The file is named, the key itself is not repeated."""
    key = tmp_path / "key"
    key.write_text("sk_test_0123456789abcdef")
    key.chmod(0o644)
    config = tmp_path / "config.toml"
    config.write_text(f"[cloud]\napi_key_file = '{key}'\n[spool]\ndirectory = '{tmp_path}/spool'\n")
    async with program("run", "--config", config) as hub:
        assert await hub.end() == 2
    assert "[config_key_exposed]" in hub.said
    assert f"chmod o-rwx {key}" in hub.said
    assert "0123456789abcdef" not in hub.said


async def test_a_spool_of_a_newer_version_exits_3(tmp_path: Path) -> None:
    """It is left as it is, for the version that wrote it."""
    settings = SpoolSettings(directory=tmp_path / "spool", min_free_bytes=0)
    async with Spool.open(settings, time.time):
        pass
    database = settings.directory / DATABASE_NAME
    with closing(sqlite3.connect(database)) as newer:
        newer.execute("PRAGMA user_version = 99")
    before = database.read_bytes()
    config = tmp_path / "config.toml"
    config.write_text(f"[spool]\ndirectory = '{settings.directory}'\n")
    async with program("run", "--config", config, env={"BOTA_GATEWAY_CLOUD__API_KEY": "sk_test_0123456789"}) as hub:
        assert await hub.end() == 3
    assert "[spool_too_new]" in hub.said
    assert database.read_bytes() == before


async def test_no_secret_is_left_anywhere(place: Place) -> None:
    """Key, presigned URLs and tokens are in no log line, no file of the spool and no answer, refusals included."""
    refusal = {"route": "PUT s3", "fault": {"kind": "s3_refusal", "refusal": "expired"}}
    lost = {"route": "POST /recordings/{id}/upload-complete", "fault": {"kind": "lost_after_commit"}}
    for fault in (refusal, lost):
        await place.control("POST", "/faults", fault)
    answers = []
    async with place.gateway() as hub:
        await hub.event("recording_captured", times=2)
        while True:
            recordings = await place.ask("recordings")
            answers += [recordings, await place.ask("status"), await place.ask("recorders")]
            answers += [await place.ask("timeline", recording=one["file_id"]) for one in recordings]
            if {one["state"] for one in recordings} == {Custody.CONFIRMED}:
                break
        files = {path: path.read_bytes() for path in (place.directory / "hub").rglob("*") if path.is_file()}
    assert [rule["fired"] for rule in await place.control("GET", "/faults")] == [1, 1]
    assert files
    everything = [hub.said.encode(), repr(answers).encode(), *files.values()]
    secrets = (place.where["api_key"].encode(), b"X-Amz-Signature", b"X-Amz-Credential", b"Bearer ", b"SIMACCESSKEY")
    assert [secret for secret in secrets if any(secret in text for text in everything)] == []
