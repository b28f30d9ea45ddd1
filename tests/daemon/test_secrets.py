"""Whatever the cloud answers, and whatever breaks here: no credential stands in a log, in the spool or in an answer."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bota_gateway.cloud.s3 import ObjectStore
from bota_gateway.model import Custody
from bota_gateway.sim.cloud import ErrorVariant
from bota_gateway.sim.cloud.faults import EditedAnswer, Fault, Redirect, Status
from bota_gateway.sync.visit import Visit
from bota_gateway.upload import Registrar
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
KEY = "sk_test_recognisable0123456789"
SIGNATURE = "5ec2e7" * 10
SECURITY = "FwoGZXIvRecognisableToken"
UPLOAD_TOKEN = "up_recognisable0123456789"
DEVICE_TOKEN = "dtok_recognisable0123456789"
QUERY = f"X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Security-Token={SECURITY}&X-Amz-Signature={SIGNATURE}"
SECRETS = (KEY, SIGNATURE, SECURITY, UPLOAD_TOKEN, DEVICE_TOKEN)

URL = "POST /recordings/{id}/upload-url"
CREATE = "POST /recordings"
COMPLETE = "POST /recordings/{id}/upload-complete"


def leads_to(url: str, **more: Any) -> Fault:
    """An upload URL with recognisable credentials."""
    return EditedAnswer(replace={"upload_url": f"{url}?{QUERY}", "upload_token": UPLOAD_TOKEN, **more})


def echoes(status: int, variant: str) -> Fault:
    """A refusal that repeats what it was sent, as debugging servers and proxies do."""
    said = f"Authorization: Bearer {KEY}; token {DEVICE_TOKEN}; https://s3.example/k?{QUERY}"
    return Status(status=status, code=KEY, message=said, variant=ErrorVariant(variant))


ODD: dict[str, tuple[str, Fault]] = {
    "a url that s3 refuses": (URL, leads_to("http://{s3}/bota-uploads/key")),
    "a url to another host": (URL, leads_to(f"https://elsewhere.example/{SIGNATURE}")),
    "a url that is none": (URL, leads_to("https://[broken")),
    "a url that needs our credentials": (URL, leads_to("http://{s3}/k", headers={"Authorization": f"Bearer {KEY}"})),
    "headers that split the request": (URL, leads_to("http://{s3}/k", headers={"X-A": f"1\r\nX-B: {DEVICE_TOKEN}"})),
    "a redirect of create": (CREATE, Redirect(location=f"https://elsewhere.example/?{QUERY}&key={KEY}")),
    "a redirect of s3": ("PUT s3", Redirect(location=f"https://elsewhere.example/?{QUERY}")),
    "a status that is a secret": (COMPLETE, EditedAnswer(replace={"status": KEY})),
    "an id that is a secret": (CREATE, EditedAnswer(replace={"id": UPLOAD_TOKEN})),
    "a user that is a secret": ("GET /devices/{id}", EditedAnswer(replace={"end_user_id": KEY})),
}
ECHOES: dict[str, tuple[str, Fault]] = {
    f"{route} refused with {status} {variant}": (route, echoes(status, variant))
    for route, status, variant in [
        (CREATE, 400, "A"), (CREATE, 401, "B"), (CREATE, 409, "C"), (CREATE, 500, "D"), (URL, 403, "A"),
        (URL, 422, "B"), (COMPLETE, 400, "C"), ("GET /devices", 401, "A"), ("GET /recordings", 404, "B"),
    ]
}  # fmt: skip
FAULTS = ODD | ECHOES


def places(world: World, answers: list[str]) -> Iterator[tuple[str, bytes]]:
    """Everything that the gateway tells or keeps."""
    yield "the log", world.log.getvalue().encode()
    for number, answer in enumerate(answers):
        yield f"answer {number}", answer.encode()
    for file in sorted(world.settings().spool.directory.rglob("*")):
        if file.is_file():
            yield file.name, file.read_bytes()


def assert_nothing_told(world: World, answers: list[str]) -> None:
    """No secret is in any of them, not even the one that is not ours to know."""
    for name, text in places(world, answers):
        for secret in (*SECRETS, world.cloud.api_key):
            assert secret.encode() not in text, f"{name} holds {secret[:12]}…"
        assert not re.search(rb"X-Amz-Signature=[0-9a-f]{16}", text), f"{name} holds a signature"


async def asked(running: Running) -> list[str]:
    """What people ask it."""
    told = [
        await running.ask(*question)
        for question in (["status"], ["status", "--json"], ["recorders", "--json"], ["recordings", "--json"])
    ]
    return [one.out + one.err for one in told]


@pytest.mark.parametrize("name", FAULTS)
async def test_no_failing_answer_brings_a_credential_into_log_spool_or_status(tmp_path: Path, name: str) -> None:
    """Answers that hold, echo or misplace credentials, until each is waiting with a reason, and until all is stored."""
    route, fault = FAULTS[name]
    async with World.open(tmp_path) as world:
        text = json.dumps(fault.model_dump(mode="json")).replace("{s3}", world.cloud.s3_host)
        rule = world.cloud.faults.add(route, type(fault).model_validate_json(text), times=3)
        await world.recorder(SERIAL, speech(1))
        async with world.gateway(cloud={"look_before_create": route == "GET /recordings"}) as running:
            await running.until(lambda: world.cloud.faults.fired(rule), within=7200)
            answers = await asked(running)
            await running.until(lambda: _settled(running), within=86_400)
            rows = await running.gateway.spool.recordings()
            answers += await asked(running)
            told = [await running.ask("timeline", row.key.file_id, "--json") for row in rows]
            answers += [one.out + one.err for one in told]
            assert_nothing_told(world, answers)
        assert_nothing_told(world, [])


async def _settled(running: Running) -> bool:
    spool = running.gateway.spool
    rows = await spool.recordings()
    if not rows:  # whose the recorder is could not be asked
        return any(recorder.waiting_for for recorder in await spool.recorders())
    return all(row.state in {Custody.CONFIRMED, Custody.PARKED} or row.waiting_for for row in rows)


def breaks_with(text: str) -> Callable[..., Any]:
    """A mistake of ours whose exception quotes what it worked with."""

    async def broken(*_given: object, **_more: object) -> NoReturn:
        raise RuntimeError(text)

    return broken


@pytest.mark.parametrize(("owner", "name"), [(ObjectStore, "put"), (Registrar, "run"), (Visit, "_exchange")])
async def test_a_crash_report_holds_no_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """An exception nobody foresaw quotes key and URL: neither its traceback nor what status says of it does."""
    monkeypatch.setattr(owner, name, breaks_with(f"PUT https://s3.example/k?{QUERY} with Bearer {KEY} {DEVICE_TOKEN}"))
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, speech(1))
        async with world.gateway() as running:
            await running.until(lambda: "RuntimeError" in world.log.getvalue())
            assert_nothing_told(world, await asked(running))
        assert_nothing_told(world, [])
