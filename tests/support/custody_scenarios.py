"""The scenarios whose every point a death is tried at. Together they take every step of custody and every effect.

Each is as small as its purpose allows: a run costs the same at every point, so many small worlds are tried sooner than
one large one.
"""

from typing import Final

from bota_gateway.model import Custody
from bota_gateway.sim.cloud import (
    BitRot,
    IdempotencyMode,
    LateCommit,
    LostAfterCommit,
    LostBeforeCommit,
    S3Refusal,
    Status,
)
from bota_gateway.sim.cloud.world import RecordingStatus
from bota_gateway.sim.faults import Fault, FaultKind
from bota_gateway.sim.options import StoredRecording
from support.crash_world import Scenario, World
from support.uploading import speech

PIN, NOTE = "PIN0000001", "NOTE000002"
ONE, TWO = "00000001", "00000002"
STARTED_AT = 1_780_000_000
LONG = 10_000
"""More than two rows of audio, so that some of it is written before the transfer ends."""


def stored(file_id: str = ONE, *, size: int = 3000, seed: int = 0, **more: bool) -> StoredRecording:
    """A recording with bytes of its own."""
    number = int(file_id, 16)
    return StoredRecording(file_id, STARTED_AT + number, 10, speech(size, number + seed) if size else b"", **more)


# -- what the cloud does -----------------------------------------------------------------------------------------------


def _loses_create(world: World) -> None:
    world.cloud.faults.add("POST /recordings", LostAfterCommit())


def _creates_late(world: World) -> None:
    world.cloud.faults.add("POST /recordings", LateCommit(delay_s=30))


def _loses_the_rest(world: World) -> None:
    for route in ("POST /recordings/{id}/upload-url", "PUT s3", "POST /recordings/{id}/upload-complete"):
        world.cloud.faults.add(route, LostAfterCommit())


def _is_away(world: World) -> None:
    world.cloud.faults.add("GET /devices", LostBeforeCommit())
    world.cloud.faults.add("POST /recordings", LostBeforeCommit())
    world.cloud.faults.add("PUT s3", S3Refusal(refusal="slow_down"))
    world.cloud.faults.add("POST /recordings/{id}/upload-complete", Status(status=503))


def _rots(world: World) -> None:
    world.cloud.faults.add("PUT s3", BitRot())


def _gives_old_urls(world: World) -> None:
    world.cloud.faults.add("PUT s3", S3Refusal(refusal="expired"))


def _gives_no_urls(world: World) -> None:
    world.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)


def _belongs_to_nobody(world: World) -> None:
    world.cloud.devices.unbind(PIN)


def _does_not_tell_whose_it_is(world: World) -> None:
    world.cloud.faults.add("GET /devices/{id}", Status(status=503), times=None)


# -- what people do ----------------------------------------------------------------------------------------------------


async def _binds_and_retries(world: World) -> bool:
    """Somebody sees the parked recording, binds its recorder and asks for another try."""
    rows = await world.spool.recordings()
    if any(row.parked_reason == "recorder_unbound" for row in rows):
        if world.cloud.devices.by_serial(PIN).end_user_id is None:
            world.cloud.devices.bind(PIN)
        await world.spool.retry(code="recorder_unbound")
    return any(row.state in {Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED} for row in rows)


async def _changes_hands(world: World) -> bool:
    """While the cloud does not say whose the recorder is, somebody else gets it."""
    rows = await world.spool.recordings()
    if any(row.state is Custody.CAPTURED for row in rows) and "bound" not in world.notes:
        world.notes["bound"] = world.cloud.devices.bind(PIN, "eu_somebodyelse")
        world.cloud.faults.clear()
    return "bound" in world.notes


async def _records_anew(world: World) -> bool:
    """The recorder's file ids are random: one day one comes again with the same start, for another recording."""
    again = stored(seed=50, size=4000)
    if any(one.sha256 == again.sha256 for one in world.witness.made):
        return True
    rows = await world.spool.recordings()
    if rows and all(row.state is Custody.CONFIRMED for row in rows):
        world.put(PIN, again)
    return False


async def _phone_takes_it_and_brings_it_back(world: World) -> bool:
    """A recording that could not be pulled is taken by its owner's phone, and later it is there again after all."""
    rows = await world.spool.recordings()
    stored = world.notes.get("taken")
    if stored is None and rows and rows[0].waiting_for is not None:
        world.notes["taken"] = world.take(PIN, ONE)
        world.recorders[PIN].faults.clear()
    elif stored is not None and world.witness.taken and rows and rows[0].state is Custody.FORGOTTEN:
        world.give_back(PIN, stored)
    return stored is not None and not world.witness.taken


async def _deleted_in_the_cloud(world: World) -> bool:
    """Somebody deletes the recording in the dashboard before it is complete, and asks for another try."""
    made = next(iter(world.cloud.recordings.values()), None)
    if made is not None and made.status is RecordingStatus.PENDING and "deleted" not in world.notes:
        world.notes["deleted"] = world.cloud.recordings.pop(made.id)
    rows = await world.spool.recordings()
    if any(row.parked_reason == "upload_recording_gone" for row in rows):
        await world.spool.retry(code="upload_recording_gone")
    return "deleted" in world.notes or (made is not None and made.status is not RecordingStatus.PENDING)


async def _waits_for_the_retention(world: World) -> bool:
    """Nobody does anything; it is over when the audio was let go."""
    return all(row.released_at is not None for row in await world.spool.recordings())


async def _forgets_it(world: World) -> bool:
    """Somebody has it forgotten while its upload is stuck."""
    rows = await world.spool.recordings()
    stuck = [row for row in rows if row.state is Custody.CREATED and row.waiting_for]
    return any(row.forgotten_by_hand for row in rows) or (bool(stuck) and await world.forget(stuck[0]))


async def _wants_it_again(world: World) -> bool:
    """The same; when the cloud is well again, somebody wants it after all."""
    if "wanted" not in world.notes and await _forgets_it(world):
        world.cloud.faults.clear()
        rows = await world.spool.recordings()
        await world.want_again(rows[0])
        world.notes["wanted"] = True
    return "wanted" in world.notes


async def _forgets_what_is_stored(world: World) -> bool:
    """Somebody wants the room of what the cloud has, before its recorder was told."""
    rows = await world.spool.recordings()
    if any(row.state is Custody.STORED and row.released_at is None for row in rows):
        await world.forget(rows[0])
    return bool(rows) and all(row.released_at is not None for row in rows)


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("plain", {PIN: [stored()]}),
        Scenario("generation d1", {PIN: [stored()]}, profile="d1"),
        Scenario("generation d2", {PIN: [stored()]}, profile="d2"),
        Scenario(
            "a strict server of generation d2", {PIN: [stored()]}, profile="d2", cloud={"unknown_fields": "refuse"}
        ),
        Scenario(
            "two recordings, and nothing kept",
            {PIN: [stored(ONE), stored(TWO)]},
            settings={"spool": {"retention_hours": 0}},
            rests=frozenset({Custody.FORGOTTEN}),
        ),
        Scenario("two recorders at once", {PIN: [stored(ONE)], NOTE: [stored(TWO)]}),
        Scenario(
            "a spoilt transfer of a long recording",
            {PIN: [stored(size=LONG)]},
            recorder_faults=[Fault(FaultKind.WRONG_CRC)],
        ),
        Scenario("the same name again", {PIN: [stored()]}, outside=_records_anew),
        Scenario(
            "a lost create", {PIN: [stored()]}, cloud={"idempotency": IdempotencyMode.NONE}, arrange=_loses_create
        ),
        Scenario(
            "a create that comes late",
            {PIN: [stored()]},
            cloud={"idempotency": IdempotencyMode.NONE},
            arrange=_creates_late,
        ),
        Scenario("lost answers", {PIN: [stored()]}, arrange=_loses_the_rest),
        Scenario("lost answers of generation d2", {PIN: [stored()]}, profile="d2", arrange=_loses_the_rest),
        Scenario(
            "a recorder that changes hands",
            {PIN: [stored()]},
            arrange=_does_not_tell_whose_it_is,
            outside=_changes_hands,
            waits={(PIN, ONE): "recorder_rebound"},
        ),
        Scenario("a cloud that is away", {PIN: [stored()]}, arrange=_is_away),
        Scenario("a bucket that rots", {PIN: [stored()]}, arrange=_rots),
        Scenario("an upload URL that expired", {PIN: [stored()]}, arrange=_gives_old_urls),
        Scenario("a recorder of nobody's", {PIN: [stored()]}, arrange=_belongs_to_nobody, outside=_binds_and_retries),
        Scenario(
            "a confirm that is lost, then ignored",
            {PIN: [stored()]},
            recorder_faults=[Fault(FaultKind.LOSE_CONFIRM, at=None), Fault(FaultKind.IGNORE_CONFIRM)],
        ),
        Scenario(
            "an answer to confirm that is lost",
            {PIN: [stored()]},
            recorder_faults=[Fault(FaultKind.LOSE_CONFIRM_ANSWER)],
        ),
        Scenario(
            "gone, and there again",
            {PIN: [stored()]},
            recorder_faults=[Fault(FaultKind.ERROR, at=1, times=None)],
            outside=_phone_takes_it_and_brings_it_back,
        ),
        Scenario(
            "deleted in the cloud",
            {PIN: [stored()]},
            outside=_deleted_in_the_cloud,
        ),
        Scenario("forgotten by hand", {PIN: [stored(size=LONG)]}, arrange=_gives_no_urls, outside=_forgets_it),
        Scenario(
            "forgotten by hand, and wanted after all",
            {PIN: [stored()]},
            arrange=_gives_no_urls,
            outside=_wants_it_again,
        ),
        Scenario(
            "forgotten by hand when it was stored",
            {PIN: [stored()]},
            settings={"recorders": {"confirm": "never"}},
            outside=_forgets_what_is_stored,
            rests=frozenset({Custody.STORED}),
        ),
        Scenario(
            "ciphertext for the relay",
            {PIN: [stored(p10=True)]},
            waits={(PIN, ONE): "upload_p10_needs_relay"},
        ),
        Scenario("a recording without a byte", {PIN: [stored(size=0)]}, waits={(PIN, ONE): "recording_empty"}),
        Scenario(
            "never to be deleted, and not kept",
            {PIN: [stored()]},
            settings={"recorders": {"confirm": "never"}, "spool": {"retention_hours": 0}},
            outside=_waits_for_the_retention,
            rests=frozenset({Custody.STORED}),
        ),
    )
}
