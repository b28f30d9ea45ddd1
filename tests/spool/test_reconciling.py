from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, CaptureKey, Custody, ListedRecording, Membership, Recording
from bota_gateway.spool import Spool
from bota_gateway.spool.custody import WITH_AUDIO, Step, allowed
from bota_gateway.spool.reconciling import Change, compare
from support.spooling import SERIAL, TurnableClock, bring_to, entry, happened, meet, noise, pull

HELD = (*sorted(WITH_AUDIO - {Custody.STORED, Custody.CONFIRMING}),)


async def test_new_recordings_are_listed(spool: Spool) -> None:
    """Each entry that the spool does not know becomes a row, oldest start first."""
    rows = await meet(spool, entry(2, started_at=2000), entry(1))
    assert [(row.key.file_id, row.state, row.take) for row in rows] == [
        ("00000001", Custody.LISTED, 0),
        ("00000002", Custody.LISTED, 0),
    ]
    assert await happened(spool, rows[0].id) == ["listed"]


async def test_a_list_seen_twice_changes_nothing(spool: Spool) -> None:
    """The same list again brings the same rows, and writes nothing."""
    first = await meet(spool, entry(1), entry(2))
    revision = spool.revision
    assert await spool.reconcile(SERIAL, [entry(1), entry(2)], complete=True) == first
    assert spool.revision == revision


async def test_repeats_in_a_list_are_one_recording(spool: Spool) -> None:
    """A recorder that lists a recording twice has it once."""
    assert len(await meet(spool, entry(), entry(), entry(duration_s=61))) == 1


async def test_a_contradictory_list_changes_nothing(spool: Spool) -> None:
    """With two entries under one key, the one that is known counts: no deletion is seen that did not happen."""
    row = await bring_to(spool, Custody.STORED)
    assert await spool.reconcile(SERIAL, [entry(duration_s=61), entry()], complete=True) == [row]


async def test_another_start_is_another_recording(spool: Spool) -> None:
    """The file id is four random bytes: the start time tells two captures apart."""
    rows = await meet(spool, entry(started_at=1000), entry(started_at=2000))
    assert len({row.id for row in rows}) == 2


async def test_the_same_key_on_another_recorder_is_another_recording(spool: Spool) -> None:
    """Recorders don't share recordings."""
    first = await meet(spool, entry())
    second = await meet(spool, entry(), serial="OTHER")
    assert first[0].id != second[0].id
    assert len(await spool.recordings()) == 2


async def test_an_unpulled_recording_that_is_gone_has_vanished(spool: Spool) -> None:
    """Its owner's phone took it: it is forgotten and says so; when it is there again, it is pulled after all."""
    row = await bring_to(spool, Custody.LISTED)
    assert await spool.reconcile(SERIAL, [], complete=True) == []
    assert (await spool.recording(row.id)).state is Custody.FORGOTTEN
    (again,) = await spool.reconcile(SERIAL, [entry(size_kib=300)], complete=True)
    assert (again.id, again.state, again.size_kib) == (row.id, Custody.LISTED, 300)
    assert await happened(spool, row.id) == ["listed", "vanished", "listed_again"]


async def test_a_recording_parked_unpulled_vanishes_too(spool: Spool) -> None:
    """Nobody needs to help with a recording that is no longer there."""
    row = await bring_to(spool, Custody.PARKED)
    await spool.reconcile(SERIAL, [], complete=True)
    gone = await spool.recording(row.id)
    assert (gone.state, gone.parked_reason, gone.parked_from) == (Custody.FORGOTTEN, None, None)


@pytest.mark.parametrize("state", HELD)
async def test_what_the_spool_holds_stays_when_the_recorder_lost_it(spool: Spool, state: Custody) -> None:
    """The bytes are here: a recorder that no longer lists them changes nothing."""
    row = await bring_to(spool, state)
    await spool.reconcile(SERIAL, [], complete=True)
    assert await spool.recording(row.id) == row


@pytest.mark.parametrize("state", [Custody.STORED, Custody.CONFIRMING])
async def test_a_stored_recording_that_is_gone_is_confirmed(spool: Spool, clock: TurnableClock, state: Custody) -> None:
    """Once the cloud has it, absence from a complete list is what we wait for, whoever deleted it."""
    row = await bring_to(spool, state)
    clock.now += 9
    await spool.reconcile(SERIAL, [], complete=True)
    gone = await spool.recording(row.id)
    assert (gone.state, gone.confirmed_at) == (Custody.CONFIRMED, clock.now)
    assert (await happened(spool, row.id))[-1] == "deletion_seen"


@pytest.mark.parametrize("state", sorted(Custody))
async def test_an_incomplete_list_proves_no_absence(spool: Spool, state: Custody) -> None:
    """A list that may be cut short takes nothing from the spool."""
    row = await bring_to(spool, state)
    await spool.reconcile(SERIAL, [], complete=False)
    assert await spool.recording(row.id) == row


@pytest.mark.parametrize("state", [Custody.CONFIRMED, Custody.FORGOTTEN])
async def test_a_confirmed_recording_that_is_back_is_confirmed_again(spool: Spool, state: Custody) -> None:
    """A recorder that deletes late, or restored its card, is told again; nothing is pulled or uploaded twice."""
    row = await bring_to(spool, state)
    (back,) = await spool.reconcile(SERIAL, [entry()], complete=True)
    assert (back.id, back.state, back.confirmed_at) == (row.id, Custody.CONFIRMING, None)
    assert (await happened(spool, row.id))[-1] == "listed_again"


@pytest.mark.parametrize("state", [Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED, Custody.FORGOTTEN])
@pytest.mark.parametrize("changed", [{"duration_s": 61}, {"size_kib": 241}])
async def test_other_content_under_a_known_key_is_a_new_take(
    spool: Spool, state: Custody, changed: dict[str, int]
) -> None:
    """Another duration or size is another capture: it is pulled on its own, and the older one counts as gone."""
    row = await bring_to(spool, state)
    (new,) = await spool.reconcile(SERIAL, [entry(**changed)], complete=True)
    assert (new.state, new.take, new.key) == (Custody.LISTED, 1, row.key)
    assert (await spool.recording(row.id)).state in {Custody.CONFIRMED, Custody.FORGOTTEN}


async def test_a_recording_pulled_while_it_grew_is_never_confirmed_for_the_longer_one(spool: Spool) -> None:
    """Permission to delete is given for what was captured, not for what the recorder holds under that name now."""
    (row,) = await meet(spool, entry(duration_s=30))
    await pull(spool, row, b"the first half")
    (longer,) = await spool.reconcile(SERIAL, [entry(duration_s=60)], complete=True)
    assert (longer.take, longer.state) == (1, Custody.LISTED)
    assert (await spool.recording(row.id)).state is Custody.CAPTURED


async def test_a_recording_that_grew_before_it_was_pulled_is_followed(spool: Spool) -> None:
    """Until it is pulled, the newest duration and size are the right ones."""
    (row,) = await meet(spool, entry(duration_s=30, size_kib=120))
    (grown,) = await spool.reconcile(SERIAL, [entry(duration_s=60, size_kib=240)], complete=True)
    assert (grown.id, grown.duration_s, grown.size_kib) == (row.id, 60, 240)
    assert await happened(spool, row.id) == ["listed", "listed_differently"]


async def test_only_the_newest_take_is_spoken_of(spool: Spool) -> None:
    """With two takes under one key, a list means the newest."""
    await bring_to(spool, Custody.CONFIRMED)
    (new,) = await spool.reconcile(SERIAL, [entry(duration_s=61)], complete=True)
    assert await spool.reconcile(SERIAL, [entry(duration_s=61)], complete=True) == [new]


async def test_a_recorder_must_be_met_first(spool: Spool) -> None:
    """A list of nobody is a fault with a name, not a foreign key."""
    with pytest.raises(SpoolError) as caught:
        await spool.reconcile("NOBODY", [entry()], complete=True)
    assert caught.value.error_code == "spool_unknown_recorder"


async def test_a_long_past_does_not_make_visits_slow(spool: Spool) -> None:
    """Rows whose custody is over are not read unless their file id is listed."""
    (row,) = await meet(spool, entry())
    await spool._db._db.execute_fetchall(
        """
        INSERT INTO recordings (serial, file_id, started_at, take, duration_s, size_kib, encrypted_at_rest, state,
            sha256, listed_at)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        SELECT ?, printf('%08x', i + 1000), 0, 0, 1, 1, 0, 'forgotten', 'x', 0 FROM n
        """,
        (SERIAL,),
    )
    read: list[int] = []
    original = spool._db._db.execute_fetchall

    async def counting(sql: str, parameters: object = ()) -> object:
        rows = list(await original(sql, parameters))
        read.append(len(rows))
        return rows

    spool._db._db.execute_fetchall = counting  # type: ignore[method-assign,assignment] # counts what is read
    assert await spool.reconcile(SERIAL, [entry()], complete=True) == [row]
    assert max(read) <= 1


# The pure comparison, for any rows and any list.

RECORDING = Recording(
    id=0,
    key=CaptureKey(SERIAL, "00000000", 0),
    take=0,
    duration_s=1,
    size_kib=1,
    encrypted_at_rest=False,
    state=Custody.LISTED,
    size_bytes=None,
    sha256=None,
    device_sha256=None,
    binding=Binding(Membership.BOUND),
    idempotency_key=None,
    create_intended_at=None,
    cloud_id=None,
    verified=None,
    attempts=0,
    next_attempt_at=None,
    waiting_for=None,
    waiting_detail=None,
    parked_reason=None,
    parked_from=None,
    listed_at=0,
    captured_at=None,
    stored_at=None,
    confirmed_at=None,
)

small = st.integers(0, 2)
entries = st.builds(ListedRecording, st.sampled_from(["a", "b", "c"]), small, small, small, st.booleans())


@st.composite
def rows(draw: st.DrawFn) -> list[Recording]:
    """Rows as the spool can hold them: unique by key and take, and unpulled ones only as newest take."""
    found: list[Recording] = []
    for file_id in ("a", "b", "c"):
        for started_at in (0, 1, 2):
            takes = draw(st.integers(0, 2))
            for take in range(takes):
                state = draw(st.sampled_from(sorted(Custody)))
                last = take == takes - 1
                pulled = state in WITH_AUDIO | {Custody.CONFIRMED} or not last or draw(st.booleans())
                if state in {Custody.LISTED, Custody.RECEIVING}:
                    pulled = False
                found.append(
                    replace(
                        RECORDING,
                        id=len(found) + 1,
                        key=CaptureKey(SERIAL, file_id, started_at),
                        take=take,
                        state=state,
                        sha256="x" if pulled else None,
                        duration_s=draw(small),
                        size_kib=draw(small),
                        encrypted_at_rest=draw(st.booleans()),
                    )
                )
    return found


TARGET = {
    Change.FACTS: None,
    Change.CONFIRM_AGAIN: Custody.CONFIRMING,
    Change.LISTED_AGAIN: Custody.LISTED,
    Change.DELETION_SEEN: Custody.CONFIRMED,
    Change.VANISHED: Custody.FORGOTTEN,
}


@given(rows(), st.lists(entries, max_size=12), st.booleans())
def test_every_finding_is_an_arc_of_the_table(
    known: list[Recording], listed: list[ListedRecording], complete: bool
) -> None:
    """Whatever is listed, only changes that custody allows come out, and at most one for each row."""
    comparison = compare(known, listed, complete=complete)
    for finding in comparison.findings:
        if finding.change in TARGET:
            assert finding.row is not None
            assert allowed(Step.RECONCILE, finding.row.state, TARGET[finding.change] or finding.row.state)
    touched = [f.row.id for f in comparison.findings if f.row is not None and f.change is not Change.NEW_TAKE]
    assert len(touched) == len(set(touched))


@given(rows(), st.lists(entries, max_size=12))
def test_bytes_are_never_given_up(known: list[Recording], listed: list[ListedRecording]) -> None:
    """No list, complete or not, takes a row on whose bytes the cloud still waits."""
    waiting = {row.id for row in known if row.sha256 and row.state in {*HELD, Custody.PARKED}}
    for finding in compare(known, listed, complete=True).findings:
        assert finding.change is Change.NEW_TAKE or finding.row is None or finding.row.id not in waiting


@given(rows(), st.lists(entries, max_size=12), st.booleans())
def test_every_listed_key_is_answered_once(
    known: list[Recording], listed: list[ListedRecording], complete: bool
) -> None:
    """Each key of the list has exactly one row afterwards: standing, changed or new."""
    comparison = compare(known, listed, complete=complete)
    answered = [(row.key.file_id, row.key.started_at) for row in comparison.standing]
    answered += [(f.entry.file_id, f.entry.started_at) for f in comparison.findings if f.entry is not None]
    assert sorted(answered) == sorted({(each.file_id, each.started_at) for each in listed})


async def test_a_recording_in_mid_transfer_is_left_alone(spool: Spool) -> None:
    """Whatever a list says, bytes that arrive now are judged by their own transfer."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, noise(10))
    await spool.reconcile(SERIAL, [], complete=True)
    await spool.reconcile(SERIAL, [entry(duration_s=77)], complete=True)
    assert (await spool.recording(row.id)).state is Custody.RECEIVING
