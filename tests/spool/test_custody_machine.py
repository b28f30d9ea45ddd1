import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bota_gateway.errors import SpoolError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool, Step
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from bota_gateway.spool.custody import allowed
from bota_gateway.spool.fsck import examine
from support.spooling import BOUND, SERIAL, TurnableClock, entry, noise, settings_for, sha256

T = TypeVar("T")

NUMBERS = (1, 2, 3)
AUDIO = {number: noise(AUDIO_ROW_BYTES * (number - 1) + number, seed=number) for number in NUMBERS}

SIMPLE_STEPS: dict[Step, tuple[Custody | None, Callable[[Spool, int], Awaitable[object]]]] = {
    Step.INTEND_CREATE: (None, lambda spool, number: spool.intend_create(number, idempotency_key="k")),
    Step.CREATED: (Custody.CREATED, lambda spool, number: spool.created(number, "rec_1")),
    Step.PUT_DONE: (Custody.PUT, lambda spool, number: spool.put_done(number)),
    Step.INTEND_COMPLETE: (Custody.COMPLETING, lambda spool, number: spool.intend_complete(number)),
    Step.STORED: (Custody.STORED, lambda spool, number: spool.stored(number, verified=True)),
    Step.INTEND_CONFIRM: (Custody.CONFIRMING, lambda spool, number: spool.intend_confirm(number)),
    Step.ACKNOWLEDGED: (None, lambda spool, number: spool.acknowledged(number)),
    Step.ABANDON_RECEIVING: (
        Custody.LISTED,
        lambda spool, number: spool.abandon_receiving(number, code="x", message="-", retry_at=None),
    ),
}
"""Steps that need nothing but a recording: where each leads, and the call."""


@dataclass
class Expected:
    """What the model holds of one recording."""

    state: Custody = Custody.LISTED
    parked_from: Custody | None = None
    captured: bool = False
    here: bool = False
    """Captured, and not deleted since."""
    waiting: bool = False
    by_hand: bool = False
    """Forgotten so."""
    seen: bool = True
    """By the last list in this life of the gateway."""
    received: int = 0


class CustodyMachine(RuleBasedStateMachine):
    """Any steps in any order, with restarts between them, against a model that knows only the table."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = TurnableClock()
        self.stack = AsyncExitStack()
        self.rows: dict[int, Expected] = {}

    def run(self, step: Awaitable[T]) -> T:
        """Wait for one step of the spool."""

        async def awaiting() -> T:
            return await step

        return self.runner.run(awaiting())

    @initialize()
    def begin(self) -> None:
        """Three recordings are listed."""
        self.spool = self.run(self.open())
        self.run(self.spool.note_recorder(SERIAL, address="-", name=None, rssi=None))
        listed = self.run(self.spool.reconcile(SERIAL, [entry(number) for number in NUMBERS], complete=True))
        assert [row.id for row in listed] == list(NUMBERS)
        self.rows = {number: Expected() for number in NUMBERS}

    async def open(self) -> Spool:
        """Open the spool as at a start."""
        self.stack = AsyncExitStack()
        return await self.stack.enter_async_context(Spool.open(settings_for(Path(self.directory.name)), self.clock))

    def attempt(self, step: Step, number: int, target: Custody | None, call: Awaitable[object]) -> bool:
        """Take a step and see that it succeeds just when the table allows it."""
        row = self.rows[number]
        self.clock.now += 1
        legal = allowed(step, row.state, target or row.state)
        try:
            self.run(call)
        except SpoolError as error:
            if legal or error.error_code not in {"spool_bad_transition", "forgotten_by_hand"}:
                raise
            return False
        assert legal, f"{step} from {row.state} was let through"
        row.state = target or row.state
        return True

    @rule(number=st.sampled_from(NUMBERS), step=st.sampled_from(sorted(SIMPLE_STEPS)))
    def simple(self, number: int, step: Step) -> None:
        """A step that needs nothing but its recording."""
        target, call = SIMPLE_STEPS[step]
        if self.attempt(step, number, target, call(self.spool, number)):
            self.rows[number].waiting = step is Step.ABANDON_RECEIVING or (target is None and self.rows[number].waiting)

    @rule(number=st.sampled_from(NUMBERS))
    def begin_receiving(self, number: int) -> None:
        """A transfer starts."""
        call = self.spool.begin_receiving(number)
        if self.attempt(Step.BEGIN_RECEIVING, number, Custody.RECEIVING, call):
            self.rows[number].received = 0

    @rule(number=st.sampled_from(NUMBERS), share=st.integers(1, 4))
    def store(self, number: int, share: int) -> None:
        """Some bytes arrive."""
        row = self.rows[number]
        piece = AUDIO[number][row.received : row.received + len(AUDIO[number]) // share]
        if self.attempt(Step.STORE_AUDIO, number, None, self.spool.store_audio(number, piece)):
            row.received += len(piece)

    @rule(number=st.sampled_from(NUMBERS))
    def capture(self, number: int) -> None:
        """The rest arrives, and the transfer is complete."""
        row, data = self.rows[number], AUDIO[number]
        if row.state is Custody.RECEIVING:
            self.run(self.spool.store_audio(number, data[row.received :]))
            row.received = len(data)
        call = self.spool.capture(number, size_bytes=len(data), sha256=sha256(data), device_sha256=None, binding=BOUND)
        if self.attempt(Step.CAPTURE, number, Custody.CAPTURED, call):
            row.captured = row.here = True
            row.waiting = False

    @rule(number=st.sampled_from(NUMBERS), state=st.sampled_from(sorted(Custody)))
    def back_to(self, number: int, state: Custody) -> None:
        """The cloud is not where we thought; or, back to listed, the audio here is damaged."""
        moved = self.attempt(Step.BACK_TO, number, state, self.spool.back_to(number, state, reason="-"))
        if moved and state is Custody.LISTED:
            row = self.rows[number]
            row.captured = row.here = row.waiting = False

    @rule(number=st.sampled_from(NUMBERS))
    def postpone(self, number: int) -> None:
        """An upload step fails."""
        call = self.spool.postpone(number, code="x", detail="-", next_attempt_at=self.clock.now + 60)
        if self.attempt(Step.POSTPONE, number, None, call):
            self.rows[number].waiting = True

    @rule(number=st.sampled_from(NUMBERS))
    def park(self, number: int) -> None:
        """Something only a human can mend."""
        row = self.rows[number]
        came_from = row.state
        if self.attempt(Step.PARK, number, Custody.PARKED, self.spool.park(number, code="x", detail="-")):
            row.parked_from = Custody.LISTED if came_from is Custody.RECEIVING else came_from
            row.waiting = True

    @rule()
    def retry(self) -> None:
        """A human says: try everything again; what was forgotten by hand is not meant."""
        waiting = [
            row for row in self.rows.values() if row.waiting and row.state is not Custody.RECEIVING and not row.by_hand
        ]
        assert self.run(self.spool.retry()) == len(waiting)
        for row in waiting:
            self.expect_back(row)

    @rule(number=st.sampled_from(NUMBERS))
    def retry_one(self, number: int) -> None:
        """A human names one, forgotten by hand or not."""
        row = self.rows[number]
        if row.waiting and row.state is not Custody.RECEIVING:
            assert self.run(self.spool.retry(number)) == 1
            self.expect_back(row)

    def expect_back(self, row: Expected) -> None:
        """What a retry makes of it."""
        row.state = row.parked_from or row.state
        row.parked_from = None
        row.waiting = row.by_hand = False

    @rule(number=st.sampled_from(NUMBERS), uploading=st.booleans(), last_copy=st.booleans())
    def forget_by_hand(self, number: int, uploading: bool, last_copy: bool) -> None:
        """Somebody wants no more work on one; refused, nothing has changed."""
        row = self.rows[number]
        self.clock.now += 1
        in_cloud = row.state in {Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED}
        is_last = row.here and not in_cloud and not row.seen
        over = row.by_hand or row.state is Custody.FORGOTTEN or (in_cloud and not row.here)
        refused = uploading or row.state is Custody.RECEIVING or over or (is_last and not last_copy)
        call = self.spool.forget_by_hand(number, last_copy=last_copy, is_uploading=lambda _: uploading)
        try:
            self.run(call)
        except SpoolError as error:
            if not refused or not error.error_code.startswith("forget_"):
                raise
            return
        assert not refused
        row.here = False
        if row.state is Custody.CONFIRMED:
            row.state = Custody.FORGOTTEN
        elif not in_cloud:
            row.state, row.parked_from, row.waiting = Custody.PARKED, Custody.LISTED, True
            row.captured, row.by_hand = False, True

    @rule(shown=st.sets(st.sampled_from(NUMBERS)), complete=st.booleans())
    def reconcile(self, shown: set[int], complete: bool) -> None:
        """The recorder shows some of its recordings."""
        self.run(self.spool.reconcile(SERIAL, [entry(number) for number in sorted(shown)], complete=complete))
        for number, row in self.rows.items():
            if number in shown:
                row.seen = True
                self.expect_present(row)
            elif complete:
                row.seen = False
                self.expect_absent(row)

    def expect_present(self, row: Expected) -> None:
        """What a listed recording becomes."""
        if row.state is Custody.CONFIRMED or (row.state is Custody.FORGOTTEN and row.captured):
            row.state = Custody.CONFIRMING
        elif row.state is Custody.FORGOTTEN:
            row.state = Custody.LISTED

    def expect_absent(self, row: Expected) -> None:
        """What a recording missing from a complete list becomes."""
        if row.state in {Custody.STORED, Custody.CONFIRMING}:
            row.state = Custody.CONFIRMED
        elif row.state is Custody.LISTED or (row.state is Custody.PARKED and not row.captured and not row.by_hand):
            row.state, row.parked_from, row.waiting = Custody.FORGOTTEN, None, False

    @rule()
    def forget(self) -> None:
        """Retention ends."""
        over = {Custody.CONFIRMED, Custody.STORED, Custody.CONFIRMING}
        due = [row for row in self.rows.values() if row.state is Custody.CONFIRMED or (row.here and row.state in over)]
        assert self.run(self.spool.forget_due(self.clock.now, 0)) == len(due)
        for row in due:
            row.here = False
            row.state = Custody.FORGOTTEN if row.state is Custody.CONFIRMED else row.state

    @rule()
    def restart(self) -> None:
        """The gateway ends and starts; in between, rows, journal and bytes agree."""
        self.run(self.stack.aclose())
        assert examine(Path(self.directory.name)).faults == []
        self.spool = self.run(self.open())
        for row in self.rows.values():
            row.seen = False
            if row.state is Custody.RECEIVING:
                row.state = Custody.LISTED

    @invariant()
    def the_spool_agrees(self) -> None:
        """States are the model's; bytes are there whole where custody has them, and nowhere else."""
        for number, expected in self.rows.items():
            row = self.run(self.spool.recording(number))
            assert (row.state, row.parked_from) == (expected.state, expected.parked_from)
            assert (row.sha256 is not None) == expected.captured
            assert self.run(self.spool.timeline(number))[0].happened == "listed"
            rows = self.run(
                self.spool._db.read("SELECT data FROM audio WHERE recording_id = ? ORDER BY number", (number,))
            )
            audio = b"".join(each["data"] for each in rows)
            assert (row.released_at is None) == (expected.here or not expected.captured)
            if expected.here:
                assert audio == AUDIO[number]
            else:
                assert audio == b"" or row.state is Custody.RECEIVING

    @invariant()
    def next_is_the_oldest_that_is_due(self) -> None:
        """What upload is given is something to upload, and is due."""
        if not self.rows:
            return
        row = self.run(self.spool.next_upload(self.clock.now))
        due_at = self.run(self.spool.next_upload_at())
        assert (row is not None) == (due_at is not None and due_at <= self.clock.now)

    def teardown(self) -> None:
        """Close the spool."""
        self.run(self.stack.aclose())
        self.runner.close()
        self.directory.cleanup()


def test_any_order_of_steps_keeps_custody() -> None:
    """Steps succeed just where the table allows them, and the bytes are where custody says, whatever came before."""
    run_state_machine_as_test(
        CustodyMachine,
        settings=settings(max_examples=25, stateful_step_count=40),
    )
