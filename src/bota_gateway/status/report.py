"""Answers the questions of the command line from the spool and from what is under way right now."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bota_gateway.errors import GatewayError, SpoolFullError, SpoolWriteError, StatusError
from bota_gateway.model import Custody, RecorderRecord, Recording, WallClock
from bota_gateway.spool import Spool, SpoolUsage
from bota_gateway.status.words import duration

_HERE_TO_STAY = frozenset({Custody.CONFIRMED, Custody.FORGOTTEN})
"""States in which nothing is left to do."""


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


class Report:
    """Answers ``status``, ``recorders``, ``recordings``, ``timeline`` and ``retry``."""

    def __init__(
        self,
        spool: Spool,
        now: WallClock,
        failing: Mapping[str, GatewayError],
        links: Callable[[], Sequence[LinkReport]],
    ) -> None:
        self._spool = spool
        self._now = now
        self._failing = failing
        self._links = links

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
        links = [self._link(link) for link in self._links()]
        parked = usage.counts.get(Custody.PARKED, 0)
        waiting = sum(count for state, count in usage.counts.items() if state not in _HERE_TO_STAY) - parked
        problems = self._problems(usage)
        health = "failing" if problems else "attention" if parked else "ok"
        receiving = sum(1 for link in links if link["file_id"])
        parts = [f"{len(links)} linked", f"{receiving} receiving", f"{waiting} waiting"]
        if usage.oldest_waiting_at is not None:
            parts.append(f"oldest {duration(max(0.0, self._now() - usage.oldest_waiting_at))}")
        if parked:
            parts.append(f"{parked} parked")
        parts += [str(problem["part"]) + " in trouble" for problem in problems]
        return {
            "health": health,
            "summary": ", ".join(parts),
            "problems": problems,
            "links": links,
            "counts": {state.value: count for state, count in usage.counts.items()},
            "spool": {
                "used_bytes": usage.used_bytes,
                "quota_bytes": usage.quota_bytes,
                "disk_free_bytes": usage.disk_free_bytes,
            },
        }

    def _problems(self, usage: SpoolUsage) -> list[dict[str, object]]:
        down = dict(self._failing)
        if usage.full is not None:
            down["spool"] = SpoolFullError(usage.full)
        if usage.health.reason is not None:
            down["disk"] = SpoolWriteError(usage.health.reason)
        return [
            {"part": part, "code": error.error_code, "message": error.message, "remedy": error.next_step}
            for part, error in down.items()
        ]

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
        }

    async def _timeline(self, name: str) -> dict[str, object]:
        recording = await self._named(name)
        entries = await self._spool.timeline(recording.id)
        return {
            "recording": self._recording(recording),
            "timeline": [{"at": one.at, "happened": one.happened, "detail": one.detail} for one in entries],
        }

    async def _retry(self, name: str | None, reason: str | None) -> dict[str, int]:
        if name is not None:
            recording = await self._named(name)
            return {"retried": await self._spool.retry(recording.id)}
        return {"retried": await self._spool.retry(code=reason)}

    async def _named(self, name: str) -> Recording:
        """Find ``FILE_ID``, its first digits, or ``SERIAL/FILE_ID``; the newest take where a key came back."""
        serial, _, file_id = name.rpartition("/")
        found = [
            one
            for one in await self._spool.recordings(serial=serial or None)
            if one.key.file_id.startswith(file_id.lower())
        ]
        if not found:
            raise StatusError(
                f"There is no recording {name}.",
                code="status_no_such_recording",
                remedy="List them: bota-gateway recordings",
            )
        if len({one.key for one in found}) > 1:
            raise StatusError(
                f"{name} fits {len({one.key for one in found})} recordings.",
                code="status_ambiguous_recording",
                remedy="Give more digits, or SERIAL/FILE_ID: " + ", ".join(str(one.key) for one in found[:5]),
            )
        return found[-1]
