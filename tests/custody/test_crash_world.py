"""The world judged: gateways that were spoilt on purpose are found out, and the dead have no effects."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import confirm_command
from bota_gateway.protocol.recording_list import recording_id
from bota_gateway.sim.cloud import IdempotencyMode
from bota_gateway.spool import Spool
from bota_gateway.sync.pull import Puller, Transfer
from bota_gateway.sync.visit import Visit
from bota_gateway.upload.finding import Finding
from bota_gateway.upload.putting import Putting
from support import crash_world
from support.crash_run import run
from support.crash_world import Scenario, world
from support.custody_scenarios import PIN, stored
from support.effects import Moment, Point
from support.judge import Wrong
from support.one_thread import OneThreadLoop

PLAIN = Scenario("plain", {PIN: [stored()]})
FORGETFUL_CLOUD = Scenario("no idempotency", {PIN: [stored()]}, cloud={"idempotency": IdempotencyMode.NONE})
CREATE_ACTED = Point("POST /recordings", 1, Moment.ACTED)
Spoil = Callable[[pytest.MonkeyPatch], None]


def confirms_what_it_pulled(patch: pytest.MonkeyPatch) -> None:
    """Lets the recorder delete as soon as the transfer is over."""
    pull = Puller.pull

    async def hasty(puller: Puller, recording: Any) -> Any:
        captured = await pull(puller, recording)
        command = confirm_command(recording_id(recording.key.file_id))
        await puller.link.write(command.characteristic, command.value)
        return captured

    patch.setattr(Puller, "pull", hasty)


def acknowledges_first(patch: pytest.MonkeyPatch) -> None:
    """Acknowledges before the bytes are on the disk."""
    capture = Transfer._capture

    async def hasty(transfer: Transfer, *args: Any) -> Any:
        write = transfer.receiver.acknowledge()
        await transfer.link.write(write.characteristic, write.value)
        return await capture(transfer, *args)

    async def acknowledged(transfer: Transfer) -> None:
        await transfer.spool.acknowledged(transfer.recording.id)

    patch.setattr(Transfer, "_capture", hasty)
    patch.setattr(Transfer, "_acknowledge", acknowledged)


def never_looks_for_lost_creates(patch: pytest.MonkeyPatch) -> None:
    """Creates again after a lost answer without looking."""

    async def nothing(_finding: Finding, _recording: Any) -> list[Any]:
        return []

    patch.setattr(Finding, "after_lost_answer", nothing)
    patch.setattr(Finding, "before_create", nothing)


def logs_its_upload_urls(patch: pytest.MonkeyPatch) -> None:
    """Writes a presigned URL into the log."""
    send = Putting._send

    async def talkative(putting: Putting, recording: Any, ticket: Any, working: Any) -> Any:
        structlog.get_logger().info("upload_started", url=ticket.url)
        return await send(putting, recording, ticket, working)

    patch.setattr(Putting, "_send", talkative)


def begins_anew_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """Forgets at start what it had captured."""
    recover = Spool._recover

    async def forgetful(spool: Spool) -> int:
        await spool._db._db.execute_fetchall("UPDATE recordings SET state = 'listed' WHERE state = 'captured'")
        return await recover(spool)

    patch.setattr(Spool, "_recover", forgetful)


SPOILT: list[tuple[Spoil, Scenario, Point | None, Wrong]] = [
    (confirms_what_it_pulled, PLAIN, None, Wrong.CONFIRMED_TOO_EARLY),
    (acknowledges_first, PLAIN, None, Wrong.ACKNOWLEDGED_TOO_EARLY),
    (never_looks_for_lost_creates, FORGETFUL_CLOUD, CREATE_ACTED, Wrong.DOUBLED),
    (logs_its_upload_urls, PLAIN, None, Wrong.SECRET_TOLD),
    (begins_anew_after_a_restart, PLAIN, Point("write ACK", 1, Moment.ANSWERED), Wrong.PULLED_AGAIN),
]


@pytest.mark.parametrize(("spoil", "scenario", "die_at", "wrong"), SPOILT, ids=[case[0].__name__ for case in SPOILT])
def test_a_spoilt_gateway_is_found_out(
    spoil: Spoil, scenario: Scenario, die_at: Point | None, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would break a promise breaks it here, too, and is named; without the fault nothing is."""
    deaths = [] if die_at is None else [die_at]
    assert run(scenario, *deaths).violations == []
    spoil(monkeypatch)
    assert wrong in {violation.wrong for violation in run(scenario, *deaths).violations}


async def writes_another_word(visit: Visit) -> None:
    await visit._link.write(uuids.TRANSFER_CONTROL, b"\x03")


async def asks_another_server(_visit: Visit) -> None:
    async with httpx.AsyncClient() as client:
        with suppress(httpx.HTTPError):
            await client.get("http://127.0.0.1:9/")


async def writes_by_itself(visit: Visit) -> None:
    await visit._hub.spool._db._db.execute_fetchall("UPDATE recorders SET name = 'Pin'")


async def keeps_a_file(visit: Visit) -> None:
    Path(visit._hub.settings.spool.directory, "notes.txt").touch()  # noqa: ASYNC240 - nothing waits for it


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (writes_another_word, "write TRIGGER_UPLOAD"),
        (asks_another_server, "TCP connection"),
        (writes_by_itself, "SQL outside of a step: UPDATE"),
        (keeps_a_file, "file notes.txt"),
    ],
)
def test_a_new_effect_is_found_out(
    more: Callable[[Visit], Awaitable[None]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An effect that stands on no list, or goes round the doors, makes the run say so."""
    confirm = Visit._confirm

    async def inventive(visit: Visit, rows: Any) -> None:
        await more(visit)
        await confirm(visit, rows)

    monkeypatch.setattr(Visit, "_confirm", inventive)
    assert run(PLAIN).unknown_effects == {kind}


def test_what_is_lost_for_ever_does_not_look_like_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world that does not come to rest in its time is broken, and says so."""

    async def lazy(_visit: Visit, _rows: Any) -> None:
        return None

    monkeypatch.setattr(Visit, "_confirm", lazy)
    monkeypatch.setattr(crash_world, "SETTLES_WITHIN_S", 900.0)
    assert Wrong.UNFINISHED in {violation.wrong for violation in run(PLAIN).violations}


@pytest.mark.parametrize(
    ("point", "happened"),
    [
        (Point("POST /recordings", 1, Moment.BEFORE), (0, False)),
        (Point("POST /recordings", 1, Moment.ACTED), (1, False)),
        (Point("write CONFIRM", 1, Moment.BEFORE), (1, False)),
        (Point("write CONFIRM", 1, Moment.ACTED), (1, True)),
    ],
    ids=str,
)
def test_the_dead_have_no_effects(tmp_path: Path, point: Point, happened: tuple[int, bool]) -> None:
    """A minute after a death exactly that has happened which the point's name says: created, deleted."""

    async def look() -> tuple[int, bool]:
        async with world(tmp_path, PLAIN, point) as it:
            await it._begin()
            assert not await it._comes_to_rest()
            await asyncio.sleep(60)
            return len(it.cloud.recordings), not it.recorders[PIN].recordings

    with asyncio.Runner(loop_factory=OneThreadLoop) as runner:
        assert runner.run(look()) == happened
