"""Why something does not move: what it waits for, since when, until when, and what a person can do.

A recording waits for itself (a back-off, a human), for the cloud, or for a visit to its recorder; that recorder may
wait, too. So the answer is a chain, the nearest cause first.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from bota_gateway.errors import StatusError
from bota_gateway.model import OPEN, Custody, Membership, RecorderRecord, Recording, WallClock
from bota_gateway.spool import Spool
from bota_gateway.spool.custody import TO_UPLOAD
from bota_gateway.status.live import Live, UnmetReport, unmet
from bota_gateway.status.naming import recorder_named, recording_named
from bota_gateway.status.remedies import remedy
from bota_gateway.status.words import DOING, clock, duration, size

_DONE = {
    Custody.CONFIRMED: "Nothing is left to do: the cloud has it, and its recorder deleted it.",
    Custody.FORGOTTEN: "Nothing is left to do: the cloud has it, its recorder deleted it, and so did this hub.",
}
_AT_RECORDER = {
    Custody.LISTED: "It is on its recorder, and is pulled in a visit.",
    Custody.RECEIVING: "Its transfer broke off, and begins again in a visit.",
    Custody.STORED: "The cloud has it; its recorder is told so in a visit.",
    Custody.CONFIRMING: "Its recorder was told that it may delete it; whether it did shows in the next visit.",
}
"""What the next visit will do, for states in which it is a visit that is waited for."""
_OF_CLOUD = frozenset({"uploader", "registrar"})
"""Parts of the gateway that only what goes to the cloud waits for."""
_OF_NEITHER = frozenset({"status socket", "status page", "housekeeping", "watchdog", "counters"})
"""Parts that no recording waits for. All others, adapters among them, are of the radio."""
_NEAR_DBM = -75
"""A recorder last heard above this did not fade away: it was switched off, ran empty, or a phone took it. Bluetooth LE
receivers lose a sender at -85 to -95 dBm, and a body in between takes some 10 dB."""

_LOW_PERCENT = 20
"""A battery that told this little may be empty an hour later."""

_JUST_MET_S = 60.0
"""A recorder does not advertise while it is held, and needs some seconds to be heard again."""


class Reason(StrEnum):
    """Codes that only a look at the whole gives; all others come from where things failed."""

    NOT_HEARD = "recorder_not_heard"
    """It does not advertise where this hub hears it.

    Bring it near and charge it. Close the Bota app on its owner's phone: while a phone holds it, nobody else hears it.
    """
    NEVER_MET = "recorder_never_met"
    """No recorder has told this serial here.

    Check the serial on its back, bring it near and charge it; bota-gateway recorders lists who was met.
    """
    BY_HAND = "paused_by_hand"
    """Somebody paused it.

    Let it work again: bota-gateway resume.
    """
    CLOCK = "hub_clock_unsynchronised"
    """Nothing has set this hub's clock since it was switched on; it has none of its own.

    Check with: timedatectl. It needs the network, and a time server that the network lets through.
    """
    QUEUED = "upload_queued"
    """Others are uploaded before it.

    Nothing: its turn comes.
    """


@dataclass(frozen=True, slots=True)
class Cause:
    """One link of the chain."""

    about: str
    """Recorder, recording, or part of the gateway."""
    says: str
    code: str | None = None
    """As in docs/errors.md; None where nothing is wrong."""
    since: float | None = None
    """Unix seconds."""
    next_in_s: float | None = None
    """Seconds to the next try; None when that depends on something else than time."""
    remedy: str | None = None


class Why:
    """Gives the causes; ``may_confirm`` is False where recorders are never told to delete."""

    def __init__(self, spool: Spool, now: WallClock, live: Live, *, may_confirm: bool) -> None:
        self._may_confirm = may_confirm
        self._spool = spool
        self._now = now
        self._live = live

    async def answer(self, name: str) -> dict[str, Any]:
        """Why the recorder or recording of this name does not move.

        Args:
            name: A serial or address (or the last digits of one), else a recording as `named` understands it.

        Raises:
            StatusError: nobody and nothing has this name, or several have.
        """
        met = await self._spool.recorders()
        if found := recorder_named(met, name):
            return _told(found.serial, None, None, await self._of_all(found))
        if len(strange := [one for one in unmet(self._live, met) if one.address.endswith(name.upper())]) == 1:
            return _told(strange[0].address, None, None, [*self._of_radio(), self._unmet(strange[0])])
        try:
            recording = await recording_named(self._spool, name)
        except StatusError as unknown:
            if unknown.error_code != "status_no_such_recording":
                raise
            raise self.never_met(name, met) from None
        causes = await self._of_recording(recording)
        return _told(recording.key.serial, recording.key.file_id, recording.state, causes)

    async def overview(self) -> dict[str, Any]:
        """What is in the way of everything, of each recorder, and of recordings by the reason they wait for."""
        rows = await self._spool.recordings(states=OPEN)
        queue = [row for row in rows if _is_queued(row)]
        gateway = (*self._of_radio(), *self._of_cloud(), *self._parts(_OF_NEITHER), *self._clock())
        met = await self._spool.recorders()
        recorders = {one.serial: self._of_recorder(one) for one in met}
        recorders |= {one.address: [self._unmet(one)] for one in unmet(self._live, met)}
        return {
            "gateway": [asdict(cause) for cause in gateway],
            "recorders": [
                _told(name, None, None, causes)
                for name, causes in recorders.items()
                if any(cause.code for cause in causes)
            ],
            "recordings": [
                asdict(cause)
                for cause in (*self._groups(rows), *self._in_queue(queue))
                if cause.code not in {one.code for one in gateway}
            ],
        }

    async def _of_all(self, record: RecorderRecord) -> list[Cause]:
        """All that is in the way of a recorder and of what came from it; what only tells that it is well comes last."""
        rows = await self._spool.recordings(states=OPEN, serial=record.serial)
        queue = [row for row in rows if _is_queued(row)]
        waits_for_cloud = record.binding.membership is Membership.UNRESOLVED or any(
            row.state in TO_UPLOAD for row in rows
        )
        visits = self._of_recorder(record)
        causes = [*self._of_radio(), *(cause for cause in visits if cause.code)]
        causes += self._of_cloud() if waits_for_cloud else []
        told = {cause.code for cause in causes}
        causes += [group for group in self._groups(rows) if group.code not in told]
        causes += self._in_queue(queue)
        return causes + self._clock() + [cause for cause in visits if not cause.code]

    def _groups(self, rows: Sequence[Recording]) -> Iterator[Cause]:
        """Those that wait or are parked for a reason of their own, by that reason; not what was forgotten by hand."""
        by_code: dict[tuple[bool, str], list[Recording]] = defaultdict(list)
        for row in rows:
            if (code := row.parked_reason or row.waiting_for) and not row.forgotten_by_hand:
                by_code[row.state is not Custody.PARKED, code].append(row)
        for (waits, code), found in sorted(by_code.items()):
            soonest = min((row.next_attempt_at for row in found if row.next_attempt_at is not None), default=None)
            yield Cause(
                f"{_counted(found)} {'waiting' if waits else 'parked'}, the latest {_short_name(found[-1])}",
                found[-1].waiting_detail or code,
                code,
                next_in_s=None if soonest is None else max(0.0, soonest - self._now()),
                remedy=remedy(code),
            )

    def _in_queue(self, rows: Sequence[Recording]) -> Iterator[Cause]:
        """Those that only wait for their turn to be uploaded; nothing while one is at work on each of them."""
        at_work = {(one.serial, one.file_id) for one in self._live.uploads}
        if all((row.key.serial, row.key.file_id) in at_work for row in rows):
            return
        yield Cause(
            f"{_counted(rows)} waiting, the latest {_short_name(rows[-1])}",
            self._turn(),
            Reason.QUEUED,
            remedy=remedy(Reason.QUEUED),
        )

    def _turn(self) -> str:
        """Why uploads go one after the other, and slowly while the limit of calls is what they wait for."""
        if next(self._of_cloud(), None):
            return "Nothing goes to the cloud now."
        spent = [one for one in self._live.budget if one.at_once == 0]
        if not spent:
            return "Others are uploaded before it."
        limit = min(spent, key=lambda one: one.per_minute)
        what = "upload addresses" if limit.name == "upload_urls" else "calls"
        return (
            f"Others are uploaded before it, and this hub may ask the cloud for {limit.per_minute:.0f} {what} a minute."
        )

    def never_met(self, name: str, met: Iterable[RecorderRecord]) -> StatusError:
        """What to say of a name that nobody has: perhaps its recorder was not visited yet, or nobody can be."""
        says, todo = f"No recorder and no recording named {name} is known here.", remedy(Reason.NEVER_MET)
        if down := list(self._of_radio()):
            says, todo = f"{says} Nobody can be met now: {down[0].says}", down[0].remedy
        elif count := len(unmet(self._live, met)):
            says += f" {count} in range {'has' if count == 1 else 'have'} not told a serial yet."
            todo = f"See what keeps that one from it: bota-gateway why. Else: {todo}"
        return StatusError(says, code=Reason.NEVER_MET, remedy=todo)

    # -- recordings ----------------------------------------------------------------------------------------------------

    async def _of_recording(self, row: Recording) -> list[Cause]:
        about = f"recording {row.key.file_id}"
        if settled := self._settled(row):
            return [Cause(about, settled)]
        own = await self._own(about, row)
        if row.state is Custody.PARKED:
            return own
        if row.state in _AT_RECORDER:
            here = own or [Cause(about, _AT_RECORDER[row.state], since=await self._since(row))]
            return [*here, *self._of_radio(), *self._of_recorder(await self._spool.recorder(row.key.serial))]
        causes = [*own, *self._of_cloud()]
        return (causes or [self._uploading(about, row)]) + self._clock()

    def _settled(self, row: Recording) -> str | None:
        """What to say of one that waits for nothing."""
        if row.state is Custody.STORED and not self._may_confirm:
            return "The cloud has it. Its recorder keeps its copy, as recorders.confirm says."
        return _DONE.get(row.state) or self._receiving(row)

    async def _own(self, about: str, row: Recording) -> list[Cause]:
        """The reason that stands with the recording itself, if any."""
        code = row.parked_reason or row.waiting_for
        if code is None:
            return []
        next_in_s = None if row.next_attempt_at is None else max(0.0, row.next_attempt_at - self._now())
        return [Cause(about, row.waiting_detail or code, code, await self._since(row), next_in_s, remedy(code))]

    def _receiving(self, row: Recording) -> str | None:
        for link in self._live.links:
            is_this = (link.serial, link.file_id) == (row.key.serial, row.key.file_id)
            if is_this and row.state is Custody.RECEIVING:
                return f"It is being received: {size(link.received_bytes)} of about {size(link.expected_bytes)}."
        return None

    def _uploading(self, about: str, row: Recording) -> Cause:
        for upload in self._live.uploads:
            if (upload.serial, upload.file_id) == (row.key.serial, row.key.file_id):
                sent = f"{size(upload.sent_bytes)} of {size(upload.size_bytes)} sent"
                return Cause(about, f"It is {DOING[upload.step]}: {sent}.")
        return Cause(about, self._turn(), Reason.QUEUED, remedy=remedy(Reason.QUEUED))

    async def _since(self, row: Recording) -> float | None:
        """When its last step was taken."""
        story = await self._spool.timeline(row.id)
        return story[-1].at if story else None

    # -- recorders -----------------------------------------------------------------------------------------------------

    def _of_recorder(self, record: RecorderRecord) -> list[Cause]:
        """What is in the way of its visits, beside what is in the way of all of them."""
        about = f"recorder {record.serial}"
        if any(link.serial == record.serial for link in self._live.links):
            return [Cause(about, "It is being visited now.")]
        causes = []
        heard = self._live.heard.get(record.address)
        is_quiet = (heard is None or not heard.present) and self._now() - record.last_seen_at > _JUST_MET_S
        if is_quiet and not list(self._of_radio()):
            causes.append(self._not_heard(about, record, None if heard is None else heard.rssi))
        is_told = causes and str(record.waiting_for).startswith("radio_")  # how the last try failed is no news then
        if record.waiting_for is not None and not is_told:
            causes.append(self._waiting(about, record))
        return causes or [Cause(about, "Nothing holds up its visits.", next_in_s=self._next_in(record))]

    def _unmet(self, one: UnmetReport) -> Cause:
        about = f"a recorder at {one.address}"
        if one.error is None:
            return Cause(about, "It is in range and was not visited yet: its first visit tells its serial.")
        loop_time = asyncio.get_running_loop().time()
        says = (
            f"In {one.failures} tr{'y' if one.failures == 1 else 'ies'} it did not tell its serial: {one.error.message}"
        )
        left = max(0.0, one.again_at - loop_time)
        return Cause(about, says, one.error.error_code, None, left, one.error.next_step)

    def _not_heard(self, about: str, record: RecorderRecord, rssi: int | None) -> Cause:
        signal = record.rssi if rssi is None else rssi
        ago = duration(max(0.0, self._now() - record.last_seen_at))
        says = f"This hub does not hear it; it was last met {ago} ago"
        if signal is not None:
            near = "near: it is off or empty, or its owner's phone holds it" if signal > _NEAR_DBM else "far"
            says += f", at {signal} dBm, so it was {near}"
        if (battery := record.battery_percent) is not None and battery <= _LOW_PERCENT and not record.charging:
            says += f"; its battery was at {battery} %"
        return Cause(about, f"{says}.", Reason.NOT_HEARD, record.last_seen_at, None, remedy(Reason.NOT_HEARD))

    def _waiting(self, about: str, record: RecorderRecord) -> Cause:
        code = record.waiting_for
        says = record.waiting_detail or str(code)
        return Cause(about, says, code, record.last_visit_at, self._next_in(record), remedy(code))

    def _next_in(self, record: RecorderRecord) -> float:
        """Seconds to its next visit, once it is heard; for a stranger to the cloud's next answer, if that is sooner."""
        visit = max(0.0, (record.next_visit_at or 0.0) - self._now())  # without a time of its own: at once
        asks_in = self._live.asks_in(record) if record.binding.membership is Membership.STRANGER else None
        return visit if asks_in is None else min(visit, asks_in)

    # -- the gateway ---------------------------------------------------------------------------------------------------

    def _of_radio(self) -> Iterator[Cause]:
        """What is in the way of all visits."""
        yield from self._parts(self._live.failing.keys() - _OF_CLOUD - _OF_NEITHER)
        yield from self._by_hand("radio")

    def _of_cloud(self) -> Iterator[Cause]:
        """What is in the way of all uploads."""
        yield from self._by_hand("uploads")
        yield from self._cloud()
        yield from self._parts(_OF_CLOUD)

    def _by_hand(self, part: str) -> Iterator[Cause]:
        if (since := self._live.paused.get(part)) is not None:
            yield Cause(f"the {part}", "Paused by hand.", Reason.BY_HAND, since, None, remedy(Reason.BY_HAND))

    def _clock(self) -> list[Cause]:
        if self._live.clock_is_trusted:
            return []
        says = f"Its clock says {clock(self._now())} and is not synchronised: recorders are not given the time, and"
        return [Cause("this hub", f"{says} certificates may fail.", Reason.CLOCK, remedy=remedy(Reason.CLOCK))]

    def _cloud(self) -> Iterator[Cause]:
        loop_time = asyncio.get_running_loop().time()
        for pause in self._live.pauses:
            left = max(0.0, pause.until - loop_time)
            yield Cause("the cloud", pause.detail, pause.code, None, left, remedy(pause.code))

    def _parts(self, names: Collection[str]) -> Iterator[Cause]:
        loop_time = asyncio.get_running_loop().time()
        for name in sorted(names):
            if down := self._live.failing.get(name):
                error, left = down.error, max(0.0, down.again_at - loop_time)
                yield Cause(f"the {name}", error.message, error.error_code, None, left, error.next_step)


def _is_queued(row: Recording) -> bool:
    return row.state in TO_UPLOAD and row.waiting_for is None


def _counted(rows: Sequence[Recording]) -> str:
    return f"{len(rows)} recording{'s' * (len(rows) != 1)}"


def _short_name(row: Recording) -> str:
    return f"{row.key.serial}/{row.key.file_id}"


def _told(serial: str, file_id: str | None, state: Custody | None, causes: list[Cause]) -> dict[str, Any]:
    return {
        "serial": serial,
        "file_id": file_id,
        "state": None if state is None else state.value,
        "causes": [asdict(cause) for cause in causes],
    }
