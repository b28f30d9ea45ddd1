"""Answers the questions of the command line from the spool and from what is under way right now."""

import asyncio
import base64
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from bota_gateway.errors import StatusError
from bota_gateway.model import FORGOTTEN_BY_HAND, RecorderRecord, Recording, WallClock
from bota_gateway.spool import Spool
from bota_gateway.status import summary
from bota_gateway.status.catalogue import LEVELS
from bota_gateway.status.forgetting import Forgetting
from bota_gateway.status.live import Live, Pauses, UnmetReport, unmet
from bota_gateway.status.naming import SHOWN_STATES, recorder_named, recording_named
from bota_gateway.status.report import Report
from bota_gateway.status.stats import stats
from bota_gateway.status.story import KEPT, Story, Wanted
from bota_gateway.status.why import Why

Asked = Mapping[str, Any]
"""A question: its name under ``ask``, and what it needs."""

STATS_SINCE_S = 7 * 86_400.0
"""Transfers of a week show a bad link, and what was mended is soon forgotten."""

_UNKNOWN = (
    *("serial", "name", "firmware", "membership", "device_id", "battery_percent", "charging", "storage_used_mb"),
    *("storage_total_mb", "pending", "recording_now", "last_visit_at", "next_attempt_at"),
)
"""What only a visit tells of a recorder."""

PAUSABLE = ("radio", "uploads")
"""Parts that a person may let rest."""


class Answers:
    """Answers each question by its name."""

    def __init__(
        self,
        spool: Spool,
        now: WallClock,
        live: Live,
        report: Report,
        story: Story,
        pauses: Pauses,
        *,
        may_confirm: bool,
    ) -> None:
        self._spool = spool
        self._now = now
        self._live = live
        self._story = story
        self._pauses = pauses
        self._forgetting = Forgetting(spool, now, live, self._recording)
        self._causes = Why(spool, now, live, may_confirm=may_confirm)
        self._by_name: dict[str, Callable[[Asked], Awaitable[object]]] = {
            "status": lambda _asked: report.status(),
            "recorders": self._recorders,
            "recordings": self._recordings,
            "timeline": self._timeline,
            "stats": self._stats,
            "audio": self._audio,
            "retry": self._retry,
            "loss": self._loss,
            "forget": self._forget,
            "why": self._why,
            "pause": self._pause,
            "resume": self._resume,
            "happenings": self._happenings,
            "follow": self._follow,
        }

    async def answer(self, asked: Asked) -> object:
        """Answer one question.

        Raises:
            StatusError: for an unknown question or a recording that is not there.
        """
        answer = self._by_name.get(str(asked.get("ask")))
        if answer is None:
            raise StatusError(
                f"Unknown question {asked.get('ask')!r}.",
                code="status_bad_question",
                remedy="The command and the daemon are of different versions: restart the daemon.",
            )
        return await answer(asked)

    # -- recorders and recordings ----------------------------------------------------------------------------------

    async def _recorders(self, _asked: Asked) -> list[dict[str, object]]:
        met = await self._spool.recorders()
        return [self._recorder(one) for one in met] + [self._unmet(one) for one in unmet(self._live, met)]

    def _recorder(self, one: RecorderRecord) -> dict[str, object]:
        heard = self._live.heard.get(one.address)
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
            "linked": any(link.serial == one.serial for link in self._live.links),
            "in_range": heard is not None and heard.present,
            "heard_ago_s": None if heard is None else heard.ago_s,
            "rssi": one.rssi if heard is None else heard.rssi,
            "battery_percent": one.battery_percent,
            "charging": one.charging,
            "storage_used_mb": one.storage_used_mb,
            "storage_total_mb": one.storage_total_mb,
            "pending": one.pending,
            "recording_now": one.recording_now,
            "waiting_for": one.waiting_for,
            "waiting_detail": one.waiting_detail,
            "next_attempt_at": one.next_visit_at,
            "next_attempt_in_s": 0.0 if one.next_visit_at is None else one.next_visit_at - self._now(),
        }

    def _unmet(self, one: UnmetReport) -> dict[str, object]:
        """One in range that has not told its serial: what is known of it, and of all else nothing."""
        loop_time = asyncio.get_running_loop().time()
        return dict.fromkeys(_UNKNOWN) | {
            "address": one.address,
            "seen_ago_s": one.heard_ago_s,
            "last_seen_at": self._now() - one.heard_ago_s,
            "linked": False,
            "in_range": True,
            "heard_ago_s": one.heard_ago_s,
            "rssi": one.rssi,
            "waiting_for": one.error and one.error.error_code,
            "waiting_detail": one.error and one.error.message,
            "next_attempt_in_s": max(0.0, one.again_at - loop_time),
        }

    async def _recordings(self, asked: Asked) -> list[dict[str, object]]:
        state = asked.get("state")
        if state not in (None, *SHOWN_STATES):
            raise _bad_question(f"{state!r} is no state.", "States: " + ", ".join(SHOWN_STATES) + ".")
        older, newer, newest = (_number(asked, name) for name in ("older_s", "newer_s", "newest"))
        found = await self._spool.recordings(
            states=None if state is None else SHOWN_STATES[state],
            serial=await self._serial(asked.get("serial")),
            by_hand=None if state is None else state == FORGOTTEN_BY_HAND,
            newest=None if newest is None else int(newest),
        )
        now = self._now()
        found = [
            one
            for one in found
            if (older is None or now - one.listed_at > older) and (newer is None or now - one.listed_at <= newer)
        ]
        return [self._recording(one) for one in reversed(found)]

    async def _serial(self, name: str | None) -> str | None:
        """The serial that a person means by the end of one."""
        if name is None:
            return None
        met = await self._spool.recorders()
        if found := recorder_named(met, name):
            return found.serial
        raise self._causes.never_met(name, met)

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

    async def _timeline(self, asked: Asked) -> dict[str, object]:
        recording = await self._named(asked)
        entries = await self._spool.timeline(recording.id)
        return {
            "recording": self._recording(recording),
            "summary": summary.sentence(recording, entries, self._now()),
            "stages_s": summary.durations(summary.times(recording, entries)),
            "timeline": [{"at": one.at, "happened": one.happened, "detail": one.detail} for one in entries],
        }

    async def _stats(self, asked: Asked) -> dict[str, Any]:
        return await stats(self._spool, self._now, _number(asked, "since_s") or STATS_SINCE_S)

    async def _audio(self, asked: Asked) -> dict[str, object]:
        """One piece of a recording's bytes, empty behind the last one; so an export of any length is many questions."""
        piece = asked.get("piece")
        if not isinstance(piece, int) or piece < 0:
            raise _bad_question(f"{piece!r} is no piece.", "Pieces count from 0.")
        recording = await self._named(asked)
        data = await self._spool.audio_piece(recording.id, piece)
        return {"recording": self._recording(recording), "data": base64.b64encode(data).decode("ascii")}

    async def _why(self, asked: Asked) -> dict[str, Any]:
        name = asked.get("of")
        return await (self._causes.overview() if name is None else self._causes.answer(str(name)))

    async def _retry(self, asked: Asked) -> dict[str, int]:
        if (name := asked.get("recording")) is not None:
            return {"retried": await self._retried(str(name)), "left_forgotten": 0}
        reason = asked.get("reason")
        retried = await self._spool.retry(code=reason)
        forgotten = (await self._spool.usage()).forgotten_by_hand if reason in (None, FORGOTTEN_BY_HAND) else 0
        return {"retried": retried, "left_forgotten": forgotten}

    async def _retried(self, name: str) -> int:
        """How many came back: a recorder by its serial, else a recording, else a recorder by its last digits."""
        found = recorder_named(await self._spool.recorders(), name)
        if found is None or found.serial != name:
            try:
                return await self._spool.retry((await recording_named(self._spool, name)).id)
            except StatusError as unknown:
                if found is None or unknown.error_code != "status_no_such_recording":
                    raise
        await self._spool.schedule_visit(found.serial, next_visit_at=None)  # due as soon as it is heard
        return 1

    async def _loss(self, asked: Asked) -> dict[str, object]:
        return self._forgetting.look(await self._named(asked))

    async def _forget(self, asked: Asked) -> dict[str, object]:
        return await self._forgetting.forget(await self._named(asked), last_copy=asked.get("last_copy") is True)

    async def _named(self, asked: Asked) -> Recording:
        return await recording_named(self._spool, str(asked.get("recording")))

    # -- what a person may stop ------------------------------------------------------------------------------------

    async def _pause(self, asked: Asked) -> dict[str, float]:
        await self._pauses.pause(_part(asked))
        return dict(self._live.paused)

    async def _resume(self, asked: Asked) -> dict[str, float]:
        await self._pauses.resume(_part(asked))
        return dict(self._live.paused)

    # -- the story -------------------------------------------------------------------------------------------------

    async def _happenings(self, asked: Asked) -> list[dict[str, Any]]:
        return [asdict(one) for one in self._story.last(*_wanted(asked))]

    async def _follow(self, asked: Asked) -> AsyncIterator[dict[str, Any]]:
        return self._story.follow(*_wanted(asked))


def _wanted(asked: Asked) -> tuple[int, Wanted]:
    filters = {key: str(asked[key]) for key in ("level", "recorder", "recording") if asked.get(key) is not None}
    if filters.get("level") not in (None, *LEVELS):
        raise _bad_question(f"{filters['level']!r} is no level.", "Levels: " + ", ".join(LEVELS) + ".")
    lines = str(asked.get("lines", KEPT))
    if not lines.isdecimal():
        raise _bad_question(f"{lines!r} is no number of lines.", "Give a number from 0 on.")
    return int(lines), Wanted(**filters)


def _number(asked: Asked, name: str) -> float | None:
    if asked.get(name) is None:
        return None
    try:
        number = float(asked[name])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _bad_question(f"{asked[name]!r} is no number.", f"Give {name} as a number.")
    return number


def _part(asked: Asked) -> str:
    part = str(asked.get("part"))
    if part not in PAUSABLE:
        raise _bad_question(f"{part!r} can't be paused.", "Only: " + ", ".join(PAUSABLE) + ".")
    return part


def _bad_question(message: str, remedy: str) -> StatusError:
    return StatusError(message, code="status_bad_question", remedy=remedy)
