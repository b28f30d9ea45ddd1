"""One recording's story in one sentence, and how long each stage of it took."""

import itertools
from collections.abc import Iterator, Sequence

from bota_gateway.model import FIRST_SET, Recording, TimelineEntry
from bota_gateway.spool import Happened
from bota_gateway.status.words import minute, rate, size


def times(recording: Recording, entries: Sequence[TimelineEntry]) -> dict[str, float]:
    """When (Unix seconds) it passed each stage for the last time, in their order; what has not happened is not there.

    ``confirmed`` is when its recorder was seen to have deleted it, ``told`` when it was last told that it may.
    """
    last = {entry.happened: entry for entry in entries}
    back = max((entry.at for entry in entries if entry.happened == Happened.MOVED_BACK), default=0.0)

    def lasting(happened: Happened) -> float | None:
        """When it happened, unless that was undone."""
        entry = last.get(happened)
        return entry.at if entry is not None and entry.at >= back else None

    passed = {
        "recorded": recording.key.started_at if recording.key.started_at >= FIRST_SET else None,
        "listed": recording.listed_at,
        "received": recording.captured_at,
        "uploaded": lasting(Happened.PUT) if recording.captured_at else None,
        "stored": recording.stored_at,
        "told": last[Happened.CONFIRM_INTENDED].at if Happened.CONFIRM_INTENDED in last else None,
        "confirmed": recording.confirmed_at,
    }
    return {name: at for name, at in passed.items() if at is not None}


def durations(passed: dict[str, float]) -> dict[str, float]:
    """Seconds from the stage before to each stage that it passed on this hub."""
    stages = [(name, at) for name, at in passed.items() if name not in {"recorded", "told"}]
    return {name: max(0.0, at - before) for (_, before), (name, at) in itertools.pairwise(stages)}


def sentence(recording: Recording, entries: Sequence[TimelineEntry], now: float) -> str:
    """``recorded 09:02 · listed 09:31 · received 09:40, 14.4 MB at 61.0 kB/s, 0 gaps · uploaded 09:41 · ...``."""
    return " · ".join(_parts(recording, entries, now))


def _parts(recording: Recording, entries: Sequence[TimelineEntry], now: float) -> Iterator[str]:
    passed = times(recording, entries)
    day = now
    for name, at in passed.items():
        if name == "told" and "confirmed" in passed:
            continue
        said = {"stored": "verified" if recording.verified else "stored", "told": "may be deleted there since"}
        told = f"{said.get(name, name)} {minute(at, day)}"
        yield f"{told}, {_transfer(recording, entries)}" if name == "received" else told
        day = at  # the day is told where it changes
    if recording.forgotten_by_hand:
        forgotten = [entry.at for entry in entries if entry.happened == Happened.FORGOTTEN_BY_HAND]
        yield " ".join(["forgotten by hand", *(minute(at, day) for at in forgotten[-1:])])
    elif recording.parked_reason is not None:
        yield f"parked for {recording.parked_reason}"


def _transfer(recording: Recording, entries: Sequence[TimelineEntry]) -> str:
    detail = next((entry.detail for entry in reversed(entries) if entry.happened == Happened.CAPTURED), {})
    told = [size(recording.size_bytes)]
    pace, gaps = detail.get("bytes_per_s"), detail.get("gaps")
    if isinstance(pace, int | float):
        told[0] += f" at {rate(pace)}"
    if gaps is not None:
        told.append(f"{gaps} gap{'' if gaps == 1 else 's'}")
    return ", ".join(told)
