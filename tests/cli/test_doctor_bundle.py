"""The support archive: all that helps, and not one secret, wherever one was planted."""

import gzip
import json
import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.cli.doctor import bundle
from bota_gateway.cli.doctor.facts import Facts
from bota_gateway.errors import GatewayError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.status.redact import without_queries
from support.commands import Told, run_beside, run_here
from support.doctoring import FINE, answering, patient
from support.spooling import TurnableClock, bring_to, noise, settings_for

IN_CONFIG, INSTALLED, ODD = "sk_live_PLANTEDconfig0001", "rk_test_PLANTEDinstalled2", "PLANTED-odd-key-of-no-shape"
DEVICE_TOKEN, UPLOAD_TOKEN, BEARER = "dtok_PLANTEDdevice03", "up_PLANTEDupload004", "PLANTEDbearer.05"
SIGNATURE, CREDENTIAL, SESSION = "PLANTEDsignature6", "PLANTEDcredential7", "PLANTEDsession8"
QUERY = f"X-Amz-Credential={CREDENTIAL}%2F2026&X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={SESSION}"
URL = f"https://bota-uploads.s3.amazonaws.com/proj/rec.ogg?{QUERY}"
QUOTED_URL = URL.replace(":", "%3A").replace("/", "%2F").replace("?", "%3F").replace("=", "%3D").replace("&", "%26")
AUDIO = b"OggS" + noise(60_000, 77)
NASTY = (
    f"key {IN_CONFIG} and {INSTALLED}, {ODD}; {DEVICE_TOKEN} {UPLOAD_TOKEN} Authorization: Bearer {BEARER} "
    f'PUT "{URL}" next={QUOTED_URL} target /proj/rec.ogg?{QUERY} {json.dumps({"url": URL})}'
)
PLANTED = b"PLANTED"
"""In every secret: what is searched for."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub with secrets in its configuration, its key file, its environment and its journal."""
    (tmp_path / "api-key").write_text(ODD)
    (tmp_path / "api-key").chmod(0o600)
    path = tmp_path / "config.toml"
    path.write_text(
        f'[cloud]\napi_base = "http://127.0.0.1:1/v1"\napi_key = "{IN_CONFIG}"\n'
        f'api_key_file = "{tmp_path / "api-key"}"\n'
        f'[spool]\ndirectory = "{tmp_path / "spool"}"\n[status]\nsocket = "{tmp_path / "status.sock"}"\n'
    )
    path.chmod(0o600)
    journal = tmp_path / "journalctl"
    journal.write_text(f"#!/bin/sh\ncat <<'END'\nhub bota-gateway[7]: {NASTY}\nEND\necho '{ODD}' >&2\n")
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'no_bus'}")
    monkeypatch.setenv("BOTA_GATEWAY_CLOUD__API_KEY", INSTALLED)
    return path


def recording(number: int, state: str) -> dict[str, Any]:
    return {
        "serial": "PIN1",
        "file_id": f"{number:08x}",
        "started_at": 1000 + number,
        "state": state,
        "waiting_for": "cloud_unreachable",
        "waiting_detail": NASTY,
    }


DAEMON: Mapping[str, Any] = {
    "status": FINE | {"summary": NASTY, "health": "attention"},
    "recorders": [{"serial": "PIN1", "name": NASTY, "membership": "bound", "seen_ago_s": 3.0, "address": "C0:FF:EE"}],
    "recordings": [recording(1, "captured"), recording(2, "confirmed"), recording(3, "parked")],
    "timeline": {"recording": recording(1, "captured"), "timeline": [{"at": 5.0, "happened": "put", "detail": NASTY}]},
    "happenings": [{"event": "upload_failed", "fields": {"reason": NASTY}}],
}


async def bundled(config: Path, *more: str) -> tuple[Told, dict[str, str], Path]:
    path = config.parent / "out" / "bundle.tar.gz"
    path.parent.mkdir()
    told = await run_beside("doctor", "--config", config, "--bundle", path, *more)
    return told, unpacked(path), path


def unpacked(path: Path) -> dict[str, str]:
    texts = {}
    with tarfile.open(path) as archive:
        for member in archive:
            assert (member.isfile(), member.mode) == (True, 0o600)
            file = archive.extractfile(member)
            assert file is not None
            texts[member.name.removeprefix("bota-gateway-doctor/")] = file.read().decode()
    return texts


async def test_no_secret_is_in_any_byte_of_it(config: Path) -> None:
    """Planted in configuration, environment, key file, journal, the gateway's answers and the spool; found in none."""
    async with Spool.open(settings_for(config.parent / "spool"), TurnableClock()) as spool:
        await bring_to(spool, Custody.CAPTURED, 1, data=AUDIO)
        async with answering(config.parent / "status.sock", DAEMON):
            told, texts, path = await bundled(config, "--json")
    assert PLANTED in NASTY.encode()
    data = path.read_bytes()
    everything = data + gzip.decompress(data) + "".join(texts.values()).encode()
    assert PLANTED not in everything
    assert PLANTED.lower() not in everything.lower()
    for start in range(0, len(AUDIO) - 16, 4096):
        assert AUDIO[start : start + 16] not in everything
    assert "[redacted]" in texts["log.txt"]
    assert len(texts["log.txt"]) > 100
    for secret in (IN_CONFIG, INSTALLED, DEVICE_TOKEN, UPLOAD_TOKEN, BEARER, SIGNATURE, CREDENTIAL, SESSION):
        assert secret not in told.out + told.err


async def test_it_holds_what_helps(config: Path) -> None:
    """The findings, the settings, what the gateway says, timelines of what is not finished, the log; and says so."""
    async with answering(config.parent / "status.sock", DAEMON):
        told, texts, path = await bundled(config)
    assert told.code == 1
    assert list(texts) == [
        *("contents.txt", "doctor.json", "version.txt", "settings.json", "system.txt", "log.txt", "status.json"),
        *("recorders.json", "recordings.json", "happenings.json", "timelines.json"),
    ]
    assert json.loads(texts["doctor.json"])["verdict"] == "failure"
    assert json.loads(texts["settings.json"])["spool"]["directory"] == str(config.parent / "spool")
    assert json.loads(texts["settings.json"])["cloud"]["api_key"] == "**********"
    assert [one["state"] for one in json.loads(texts["recordings.json"])] == ["captured", "confirmed", "parked"]
    assert len(json.loads(texts["timelines.json"])) == 2
    assert texts["version.txt"].startswith("bota-gateway ")
    assert "bleak " in texts["version.txt"]
    assert "hub bota-gateway[7]" in texts["log.txt"]
    assert str(path) in told.out
    for name in texts:
        assert name in texts["contents.txt"] or name == "contents.txt"
        assert name in told.out or name == "contents.txt"
    assert "the API key" in told.out


async def test_without_a_gateway_it_says_so(config: Path) -> None:
    """Its answers are replaced by why there are none."""
    _, texts, _ = await bundled(config)
    assert json.loads(texts["status.json"])["error"] == "status_no_daemon"
    assert "timelines.json" not in texts


def test_a_configuration_that_can_t_be_used_is_told_without_its_secrets(config: Path) -> None:
    """Somebody may have put the key where something else belongs."""
    config.write_text(f'[cloud]\nprofile = "{IN_CONFIG}"\napi_key = "{IN_CONFIG}"\n')
    told = run_here("doctor", "--config", config, "--bundle", config.parent / "a")
    texts = unpacked(config.parent / "a")
    assert "[config_invalid]" in texts["doctor.json"]
    assert json.loads(texts["settings.json"]) is None
    assert IN_CONFIG not in "".join(texts.values()) + told.out


def test_only_its_owner_reads_it(config: Path) -> None:
    """From its first moment, whatever the mask of the user."""
    before = os.umask(0)
    try:
        run_here("doctor", "--config", config, "--bundle", config.parent / "a.tar.gz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((config.parent / "a.tar.gz").stat().st_mode) == 0o600


def test_a_name_is_made_where_none_is_given(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the directory where one stands, with the time of day."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_here("doctor", "--bundle", "--config", config)
    (made,) = (tmp_path / "here").iterdir()
    assert made.name.startswith("bota-gateway-doctor-20")
    assert made.name.endswith("Z.tar.gz")


def test_nothing_is_overwritten_and_nothing_half_made_stays(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file of that name, a place that can't be written, a disk that fills up meanwhile."""
    there = config.parent / "there"
    there.write_text("mine")
    told = run_here("doctor", "--config", config, "--bundle", there)
    assert (told.code, "[bundle_exists]" in told.err, there.read_text()) == (1, True, "mine")
    told = run_here("doctor", "--config", config, "--bundle", config.parent / "nowhere" / "a")
    assert (told.code, "[bundle_failed]" in told.err) == (1, True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(GatewayError, match="No space left"):
        bundle.write(config.parent / "half", {"a": "b"}, 0.0)
    assert not (config.parent / "half").exists()


def test_a_journal_that_can_t_be_read_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is made without it."""
    monkeypatch.setenv("PATH", str(config.parent / "nowhere"))
    run_here("doctor", "--config", config, "--bundle", config.parent / "a")
    assert "could not be read" in unpacked(config.parent / "a")["log.txt"]


async def test_what_stands_in_the_place_of_the_key_is_known_as_a_secret(tmp_path: Path) -> None:
    """Whatever its shape, except where it is so short that it would cut words."""
    hub = patient(tmp_path)
    hub.hub.installed_key.write_text(f"  {ODD}\n")
    hub.change(environ={"BOTA_GATEWAY_CLOUD__API_KEY": "short"})
    async with Facts(hub.settings(), hub.hub) as facts:
        gate = await bundle.Gate.of(facts)
    assert gate.let(f"a {ODD} b short") == "a [redacted] b short"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"PUT {URL} failed", "PUT https://bota-uploads.s3.amazonaws.com/proj/rec.ogg?[redacted] failed"),
        ("see https://example.org/a and b?c=d", "see https://example.org/a and b?c=d"),
        ("<http://a/b?x=1>", "<http://a/b?[redacted]>"),
    ],
)
def test_urls_are_cut_at_their_query(text: str, kept: str) -> None:
    """Where it went stays, what let it go there does not."""
    assert without_queries(text) == kept
