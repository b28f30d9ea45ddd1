"""How transfers went, per recorder and per adapter, so that a bad antenna shows."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, Final

from bota_gateway.model import TimelineEntry, WallClock
from bota_gateway.spool import Happened, Spool

AT_MOST: Final = 20_000
"""Transfers that are looked at, the newest ones: months of a busy hub, a second's work."""

NOBODYS_FAULT: Final = frozenset({"visit_cancelled"})
"""Ends of a transfer that say nothing of the link: the gateway was stopped."""

Transfer = tuple[str, TimelineEntry]
"""The recorder's serial, and the line of a timeline that a transfer ended with."""


async def stats(spool: Spool, now: WallClock, since_s: float) -> dict[str, Any]:
    """Figures of the transfers of the last ``since_s`` seconds."""
    since = now() - since_s
    found = [one for one in await spool.transfers(since, at_most=AT_MOST) if _code(one) not in NOBODYS_FAULT]
    names = {_adapter(one): str(one[1].detail["adapter"]) for one in reversed(found)}  # as it is called now
    return {
        "since": since,
        "adapters": [one | {"name": names[one["adapter"]]} for one in _grouped(found, "adapter", _adapter)],
        "recorders": _grouped(found, "recorder", lambda one: one[0]),
    }


def _grouped(found: Iterable[Transfer], name: str, of: Callable[[Transfer], str]) -> list[dict[str, Any]]:
    groups: dict[str, list[Transfer]] = {}
    for one in found:
        groups.setdefault(of(one), []).append(one)
    told = [{name: key, **_figures(group)} for key, group in sorted(groups.items())]
    return sorted(told, key=lambda one: -one["failed_share"])  # what may need somebody first


def _figures(group: list[Transfer]) -> dict[str, Any]:
    details = [entry.detail for _, entry in group]
    reasons = Counter(code for code in map(_code, group) if code is not None)
    good = [entry.detail for _, entry in group if entry.happened == Happened.CAPTURED]
    megabytes = sum(_number(one.get("size_bytes", one.get("received_bytes"))) for one in details) / 1e6
    gaps = sum(_number(one.get("gaps")) + _number(one.get("dropped")) for one in details)
    reason, times = reasons.most_common(1)[0] if reasons else (None, 0)
    return {
        "transfers": len(group),
        "failed": len(group) - len(good),
        "failed_share": (len(group) - len(good)) / len(group),
        "reason": reason,
        "reason_times": times,
        "bytes_per_s": median(_number(one.get("bytes_per_s")) for one in good) if good else None,
        "gaps_per_mb": gaps / megabytes if megabytes else None,
        "rssi": _median(details, "rssi"),
        "rssi_end": _median(details, "rssi_end"),
        "bytes": sum(_number(one.get("size_bytes")) for one in good),
    }


def _median(details: Iterable[Mapping[str, object]], name: str) -> float | None:
    """Of those that have it."""
    found = [_number(detail[name]) for detail in details if detail.get(name) is not None]
    return median(found) if found else None


def _adapter(one: Transfer) -> str:
    """Its address, because another one may be hci0 tomorrow; its name where it has none."""
    detail = one[1].detail
    return str(detail.get("adapter_address") or detail["adapter"])


def _code(one: Transfer) -> str | None:
    """Why it failed; None when it did not."""
    return None if one[1].happened == Happened.CAPTURED else str(one[1].detail.get("code"))


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
