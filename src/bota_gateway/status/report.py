"""How the gateway is: health in one word, the line that says why, what is wrong and what moves."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bota_gateway.errors import GatewayError, SpoolError, SpoolFullError, SpoolWriteError
from bota_gateway.model import FORGOTTEN_BY_HAND, OPEN, Custody, WallClock
from bota_gateway.spool import Held, Spool, SpoolUsage
from bota_gateway.status.live import LinkReport, Live, PauseReport, UploadReport
from bota_gateway.status.remedies import remedy
from bota_gateway.status.words import DOING, age

_FOR_A_HUMAN = frozenset({"cloud_unauthorized", "cloud_forbidden", "cloud_host_not_allowed"})
"""What no waiting ends although it is tried again: the key must be renewed or given a scope, a host allowed."""


def _percent(link: LinkReport) -> int:
    """How far a transfer is; the list tells sizes in whole KiB only, so it never says that all is there."""
    return min(99, round(100 * link.received_bytes / max(1, link.expected_bytes)))


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
    """How the gateway is."""

    def __init__(self, spool: Spool, now: WallClock, live: Live) -> None:
        self._spool = spool
        self._now = now
        self._live = live

    async def status(self) -> dict[str, object]:
        """Health in one word, a line that says why, what is wrong and what moves."""
        usage = await self._spool.usage()
        links = [self._link(link) for link in self._live.links]
        pauses = [self._pause(pause) for pause in self._live.pauses]
        problems = self._problems(usage)
        told = {pause.code for pause in self._live.pauses}
        for_human = [one for one in await self._spool.held() if one.parked or one.code in _FOR_A_HUMAN - told]
        held = [self._held(one) for one in for_human]
        needs_human = held or usage.set_aside or any(pause.code in _FOR_A_HUMAN for pause in self._live.pauses)
        by_hand = "paused" if self._live.paused else "ok"
        health = "failing" if problems else "attention" if needs_human else "waiting" if pauses else by_hand
        return {
            "health": health,
            "summary": ", ".join(self._summary(usage, problems)),
            "problems": problems + [_told(path.name, _set_aside(path)) for path in usage.set_aside],
            "held": held,
            "pauses": pauses,
            "paused": dict(self._live.paused),
            "links": links,
            "uploads": [self._upload(upload) for upload in self._live.uploads],
            "counts": {state.value: count for state, count in usage.counts.items()}
            | {FORGOTTEN_BY_HAND: usage.forgotten_by_hand},
            "spool": {
                "used_bytes": usage.used_bytes,
                "quota_bytes": usage.quota_bytes,
                "disk_free_bytes": usage.disk_free_bytes,
            },
            "cloud": {"answered": self._live.cloud_answered, "budget": self._budget()},
            "radio": self._radio(),
        }

    def _radio(self) -> dict[str, object]:
        """The adapters, and what they went through in all lives of this hub: only what did happen."""
        adapters = [
            {
                "name": one.name,
                "address": one.address,
                "there": one.there,
                "scanning": one.scanning,
                "heard_ago_s": one.heard_ago_s,
                "links": one.links,
            }
            for one in self._live.adapters
        ]
        counts = [
            {"adapter": adapter or None, "name": name, "count": count}
            for (adapter, name), count in sorted(self._live.radio_counts.items())
            if count
        ]
        return {"adapters": adapters, "counts": counts}

    def _summary(self, usage: SpoolUsage, problems: Sequence[Mapping[str, object]]) -> Iterator[str]:
        """The parts of the line that a technician reads first."""
        receiving = [link for link in self._live.links if link.file_id]
        parked = usage.counts.get(Custody.PARKED, 0)
        waiting = sum(count for state, count in usage.counts.items() if state in OPEN) - parked
        yield f"{(here := self._recorders_here())} recorder{'' if here == 1 else 's'}"
        if len(receiving) == 1:
            yield f"1 receiving {_percent(receiving[0])} %"
        else:
            yield f"{len(receiving)} receiving"
        yield f"{waiting} waiting"
        if usage.oldest_waiting_at is not None:
            yield f"oldest {age(usage.oldest_waiting_at, self._now())}"
        if parked:
            yield f"{parked} parked"
        if usage.forgotten_by_hand:
            yield f"{usage.forgotten_by_hand} forgotten by hand"
        yield f"cloud {self._cloud()}"
        yield from (f"{problem['part']} in trouble: {str(problem['message']).rstrip('.')}" for problem in problems)
        yield from (f"{part} paused by hand" for part in self._live.paused)
        if usage.set_aside:
            yield "a damaged spool set aside"

    def _recorders_here(self) -> int:
        """In range or linked; one that is linked does not advertise."""
        heard = {address for address, one in self._live.heard.items() if one.present}
        return len(heard | {link.address for link in self._live.links})

    def _cloud(self) -> str:
        if self._live.pauses:
            return "rests"
        return "ok" if self._live.cloud_answered else "not asked yet"

    def _held(self, held: Held) -> dict[str, object]:
        """Recordings that wait for a person."""
        return {"code": held.code, "count": held.count, "message": held.detail, "remedy": remedy(held.code)}

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
        told = {"code": pause.code, "message": pause.detail, "remedy": remedy(pause.code)}
        return told | {"next_attempt_in_s": left}

    def _budget(self) -> list[dict[str, object]]:
        return [
            {
                "name": one.name,
                "per_minute": one.per_minute,
                "spent_in_minute": one.spent_in_minute,
                "left_in_minute": max(0, int(one.per_minute) - one.spent_in_minute),
                "at_once": one.at_once,
            }
            for one in self._live.budget
        ]

    def _upload(self, upload: UploadReport) -> dict[str, object]:
        is_sent = upload.step in {Custody.PUT, Custody.COMPLETING}
        return {
            "serial": upload.serial,
            "file_id": upload.file_id,
            "state": upload.step.value,
            "doing": DOING[upload.step],
            "sent_bytes": upload.size_bytes if is_sent else upload.sent_bytes,
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
