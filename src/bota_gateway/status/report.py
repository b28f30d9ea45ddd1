"""Answers the questions of the command line from the spool and from what is under way right now."""

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bota_gateway.errors import GatewayError, SpoolError, SpoolFullError, SpoolWriteError, StatusError
from bota_gateway.model import Custody, RecorderRecord, Recording, WallClock
from bota_gateway.spool import Spool, SpoolUsage
from bota_gateway.status.naming import named
from bota_gateway.status.words import duration

_HERE_TO_STAY = frozenset({Custody.CONFIRMED, Custody.FORGOTTEN})
"""States in which nothing is left to do."""


_FOR_A_HUMAN = frozenset({"cloud_unauthorized", "cloud_forbidden"})
"""Pauses of the cloud that no waiting ends: the key must be renewed, or given a scope."""


class LinkReport(Protocol):
    """What a link tells of itself; the sync room provides it."""

    address: str
    serial: str | None
    file_id: str | None
    received_bytes: int
    expected_bytes: int
    since: float

    @property
    def rate(self) -> float:
        """Bytes per second of the present transfer."""


def _percent(link: LinkReport) -> int:
    """How far a transfer is; the list tells sizes in whole KiB only, so it never says that all is there."""
    return min(99, round(100 * link.received_bytes / max(1, link.expected_bytes)))


class UploadReport(Protocol):
    """What an upload tells of itself; the upload room provides it."""

    serial: str
    file_id: str
    size_bytes: int
    step: Custody
    sent_bytes: int


class PauseReport(Protocol):
    """Why no calls go to the cloud now; the cloud room provides it."""

    @property
    def code(self) -> str:
        """As in docs/errors.md."""

    @property
    def detail(self) -> str:
        """In plain words."""

    @property
    def until(self) -> float:
        """Loop time of the next try."""


class DownReport(Protocol):
    """What is known of a part that is down; the daemon provides it."""

    @property
    def error(self) -> GatewayError:
        """Why."""

    @property
    def again_at(self) -> float:
        """Loop time of its next start."""


class Live(Protocol):
    """What is under way right now, beside what stands in the spool; the daemon provides it."""

    @property
    def links(self) -> Sequence[LinkReport]:
        """Links held."""

    @property
    def uploads(self) -> Sequence[UploadReport]:
        """Uploads at work."""

    @property
    def pauses(self) -> Sequence[PauseReport]:
        """Reasons why the cloud is not asked."""

    @property
    def failing(self) -> Mapping[str, DownReport]:
        """Parts that are down, by their names."""


def _told(part: str, error: GatewayError, next_attempt_in_s: float | None = None) -> dict[str, object]:
    return {
        "part": part,
        "code": error.error_code,
        "message": error.message,
        "remedy": error.next_step,
        "next_attempt_in_s": next_attempt_in_s,
    }


def _set_aside(path: Path) -> SpoolError:
    return SpoolError(
        f"A damaged spool was set aside in {path}.",
        code="spool_set_aside",
        remedy=f"See what only it has: bota-gateway fsck {path}. Save that with bota-gateway export, then delete it.",
    )


class Report:
    """Answers ``status``, ``recorders``, ``recordings``, ``timeline``, ``audio`` and ``retry``."""

    def __init__(self, spool: Spool, now: WallClock, live: Live) -> None:
        self._spool = spool
        self._now = now
        self._live = live

    async def answer(self, asked: dict[str, Any]) -> object:
        """Answer one question.

        Raises:
            StatusError: for an unknown question or a recording that is not there.
        """
        match asked.get("ask"):
            case "status":
                return await self.status()
            case "recorders":
                return [self._recorder(one) for one in await self._spool.recorders()]
            case "recordings":
                return await self._recordings(asked.get("state"), asked.get("serial"))
            case "timeline":
                return await self._timeline(str(asked.get("recording")))
            case "audio":
                return await self._audio(str(asked.get("recording")), asked.get("piece"))
            case "retry":
                return await self._retry(asked.get("recording"), asked.get("reason"))
            case other:
                raise StatusError(
                    f"Unknown question {other!r}.",
                    code="status_bad_question",
                    remedy="The command and the daemon are of different versions: restart the daemon.",
                )

    async def status(self) -> dict[str, object]:
        """Health in one word, a line that says why, what is wrong and what moves."""
        usage = await self._spool.usage()
        links = [self._link(link) for link in self._live.links]
        pauses = [self._pause(pause) for pause in self._live.pauses]
        problems = self._problems(usage)
        parked = usage.counts.get(Custody.PARKED, 0)
        needs_human = parked or usage.set_aside or any(pause.code in _FOR_A_HUMAN for pause in self._live.pauses)
        health = "failing" if problems else "attention" if needs_human else "waiting" if pauses else "ok"
        return {
            "health": health,
            "summary": ", ".join(self._summary(usage, len(links), problems)),
            "problems": problems + [_told(path.name, _set_aside(path)) for path in usage.set_aside],
            "pauses": pauses,
            "links": links,
            "uploads": [self._upload(upload) for upload in self._live.uploads],
            "counts": {state.value: count for state, count in usage.counts.items()},
            "spool": {
                "used_bytes": usage.used_bytes,
                "quota_bytes": usage.quota_bytes,
                "disk_free_bytes": usage.disk_free_bytes,
            },
        }

    def _summary(self, usage: SpoolUsage, links: int, problems: Sequence[Mapping[str, object]]) -> Iterator[str]:
        """The parts of the line that a technician reads first."""
        receiving = [link for link in self._live.links if link.file_id]
        parked = usage.counts.get(Custody.PARKED, 0)
        waiting = sum(count for state, count in usage.counts.items() if state not in _HERE_TO_STAY) - parked
        yield f"{links} linked"
        if len(receiving) == 1:
            yield f"1 receiving {_percent(receiving[0])} %"
        else:
            yield f"{len(receiving)} receiving"
        yield f"{waiting} waiting"
        if usage.oldest_waiting_at is not None:
            yield f"oldest {duration(max(0.0, self._now() - usage.oldest_waiting_at))}"
        if parked:
            yield f"{parked} parked"
        yield f"cloud {'rests' if self._live.pauses else 'ok'}"
        yield from (f"{problem['part']} in trouble" for problem in problems)
        if usage.set_aside:
            yield "a damaged spool set aside"

    def _problems(self, usage: SpoolUsage) -> list[dict[str, object]]:
        clock = asyncio.get_running_loop().time()
        problems = [
            _told(part, down.error, max(0.0, down.again_at - clock)) for part, down in self._live.failing.items()
        ]
        if usage.full is not None:
            problems.append(_told("spool", SpoolFullError(usage.full)))
        if usage.health.reason is not None:
            problems.append(_told("disk", SpoolWriteError(usage.health.reason)))
        return problems

    def _pause(self, pause: PauseReport) -> dict[str, object]:
        left = max(0.0, pause.until - asyncio.get_running_loop().time())
        return {"code": pause.code, "message": pause.detail, "next_attempt_in_s": left}

    def _upload(self, upload: UploadReport) -> dict[str, object]:
        return {
            "serial": upload.serial,
            "file_id": upload.file_id,
            "state": upload.step.value,
            "sent_bytes": upload.sent_bytes,
            "size_bytes": upload.size_bytes,
        }

    def _link(self, link: LinkReport) -> dict[str, object]:
        return {
            "address": link.address,
            "serial": link.serial,
            "file_id": link.file_id,
            "received_bytes": link.received_bytes,
            "expected_bytes": link.expected_bytes,
            "bytes_per_s": link.rate,
            "for_s": asyncio.get_running_loop().time() - link.since,
        }

    def _recorder(self, one: RecorderRecord) -> dict[str, object]:
        return {
            "serial": one.serial,
            "address": one.address,
            "name": one.name,
            "firmware": one.firmware,
            "membership": one.binding.membership.value,
            "device_id": one.binding.device_id,
            "seen_ago_s": self._now() - one.last_seen_at,
            "last_seen_at": one.last_seen_at,
            "last_visit_at": one.last_visit_at,
            "rssi": one.rssi,
            "battery_percent": one.battery_percent,
            "charging": one.charging,
            "storage_used_mb": one.storage_used_mb,
            "storage_total_mb": one.storage_total_mb,
            "pending": one.pending,
            "recording_now": one.recording_now,
            "waiting_for": one.waiting_for,
            "waiting_detail": one.waiting_detail,
            "next_attempt_at": one.next_visit_at,
            "next_attempt_in_s": None if one.next_visit_at is None else one.next_visit_at - self._now(),
        }

    async def _recordings(self, state: str | None, serial: str | None) -> list[dict[str, object]]:
        states = None if state is None else [Custody(state)]
        found = await self._spool.recordings(states=states, serial=serial)
        return [self._recording(one) for one in reversed(found)]

    def _recording(self, one: Recording) -> dict[str, object]:
        return {
            "serial": one.key.serial,
            "file_id": one.key.file_id,
            "started_at": one.key.started_at,
            "take": one.take,
            "duration_s": one.duration_s,
            "size_kib": one.size_kib,
            "state": one.state.value,
            "size_bytes": one.size_bytes,
            "sha256": one.sha256,
            "profile": one.profile,
            "cloud_id": one.cloud_id,
            "verified": one.verified,
            "attempts": one.attempts,
            "waiting_for": one.waiting_for,
            "waiting_detail": one.waiting_detail,
            "parked_reason": one.parked_reason,
            "next_attempt_at": one.next_attempt_at,
            "next_attempt_in_s": None if one.next_attempt_at is None else one.next_attempt_at - self._now(),
            "listed_at": one.listed_at,
            "captured_at": one.captured_at,
            "stored_at": one.stored_at,
            "confirmed_at": one.confirmed_at,
            "released_at": one.released_at,
        }

    async def _timeline(self, name: str) -> dict[str, object]:
        recording = await self._named(name)
        entries = await self._spool.timeline(recording.id)
        return {
            "recording": self._recording(recording),
            "timeline": [{"at": one.at, "happened": one.happened, "detail": one.detail} for one in entries],
        }

    async def _audio(self, name: str, piece: object) -> dict[str, object]:
        """One piece of a recording's bytes, empty behind the last one; so an export of any length is many questions."""
        if not isinstance(piece, int) or piece < 0:
            raise StatusError(f"{piece!r} is no piece.", code="status_bad_question", remedy="Pieces count from 0.")
        recording = await self._named(name)
        data = await self._spool.audio_piece(recording.id, piece)
        return {"recording": self._recording(recording), "data": base64.b64encode(data).decode("ascii")}

    async def _retry(self, name: str | None, reason: str | None) -> dict[str, int]:
        if name is not None:
            recording = await self._named(name)
            return {"retried": await self._spool.retry(recording.id)}
        return {"retried": await self._spool.retry(code=reason)}

    async def _named(self, name: str) -> Recording:
        return named(await self._spool.recordings(), name)
