"""What the figures of many transfers say of each adapter and recorder."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.spool import Spool
from bota_gateway.status.stats import stats
from support.spooling import TurnableClock, entry, meet, noise, settings_for, sha256

GOOD = {"adapter": "hci0", "gaps": 0, "dropped": 0, "rssi": -55, "bytes_per_s": 60_000}
BAD = {"adapter": "hci1", "gaps": 1, "dropped": 0, "rssi": -88, "bytes_per_s": 9_000}
DAY = 86_400.0


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
async def spool(tmp_path: Path, clock: TurnableClock) -> AsyncIterator[Spool]:
    async with Spool.open(settings_for(tmp_path / "spool"), clock) as opened:
        yield opened


async def transfer(spool: Spool, serial: str, number: int, figures: dict[str, Any], *codes: str) -> None:
    """Try a recording of 100 kB: fail for each of the codes, then succeed."""
    (row,) = await meet(spool, entry(number), serial=serial)
    data = noise(100_000, number)
    for code in codes:
        await spool.begin_receiving(row.id)
        await spool.abandon_receiving(row.id, code=code, message="-", retry_at=None, figures=figures)
    await spool.begin_receiving(row.id)
    await spool.store_audio(row.id, data)
    await spool.capture(
        row.id,
        size_bytes=len(data),
        sha256=sha256(data),
        device_sha256=None,
        binding=row.binding,
        figures=figures | {"gaps": 0},
    )


async def test_a_bad_antenna_shows(spool: Spool, clock: TurnableClock) -> None:
    """The same recorders fail, slowly and with gaps, on one adapter and not on the other."""
    for number, serial in enumerate(("A1", "B2"), start=1):
        await transfer(spool, serial, number, GOOD)
        await transfer(spool, serial, number + 10, BAD, "transfer_gap", "transfer_gap", "radio_link_lost")
    told = await stats(spool, clock, DAY)
    bad, good = told["adapters"]
    assert (bad["adapter"], bad["transfers"], bad["failed"], bad["failed_share"]) == ("hci1", 8, 6, 0.75)
    assert (bad["reason"], bad["reason_times"]) == ("transfer_gap", 4)
    assert (bad["bytes_per_s"], bad["rssi"], bad["bytes"]) == (9_000, -88, 200_000)
    assert bad["gaps_per_mb"] == 6 / 0.2
    assert (good["adapter"], good["failed"], good["reason"], good["gaps_per_mb"]) == ("hci0", 0, None, 0)
    assert [(one["recorder"], one["transfers"], one["failed_share"]) for one in told["recorders"]] == [
        ("A1", 5, 0.6),
        ("B2", 5, 0.6),
    ]


async def test_only_what_ended_since_then_counts(spool: Spool, clock: TurnableClock) -> None:
    """What was mended is not held against an adapter for ever."""
    await transfer(spool, "A1", 1, BAD, "transfer_gap")
    clock.now += 2 * DAY
    await transfer(spool, "A1", 2, GOOD)
    assert [one["adapter"] for one in (await stats(spool, clock, DAY))["adapters"]] == ["hci0"]
    assert len((await stats(spool, clock, 3 * DAY))["adapters"]) == 2


async def test_a_gateway_that_was_stopped_is_no_failed_transfer(spool: Spool, clock: TurnableClock) -> None:
    """It says nothing of the link."""
    await transfer(spool, "A1", 1, GOOD, "visit_cancelled")
    (one,) = (await stats(spool, clock, DAY))["adapters"]
    assert (one["transfers"], one["failed"]) == (1, 0)


async def test_only_failures_have_no_rate(spool: Spool, clock: TurnableClock) -> None:
    """Nothing is divided by nothing."""
    (row,) = await meet(spool, entry(1))
    await spool.begin_receiving(row.id)
    await spool.abandon_receiving(row.id, code="x", message="-", retry_at=None, figures={"adapter": "hci0"})
    (one,) = (await stats(spool, clock, DAY))["adapters"]
    assert (one["failed_share"], one["bytes_per_s"], one["gaps_per_mb"]) == (1, None, None)
    assert (one["rssi"], one["rssi_end"]) == (None, None)


async def test_the_signal_after_transfers_stands_beside_that_before(spool: Spool, clock: TurnableClock) -> None:
    """Of those that were heard again; a link that wanders off shows in the two."""
    for number, heard in enumerate(({"rssi_end": -90}, {}, {"rssi_end": -80}, {"rssi_end": -70}), start=1):
        await transfer(spool, "A1", number, GOOD | heard)
    told = await stats(spool, clock, DAY)
    for (one,) in (told["adapters"], told["recorders"]):
        assert (one["rssi"], one["rssi_end"]) == (-55, -80)


async def test_an_adapter_is_known_by_its_address(spool: Spool, clock: TurnableClock) -> None:
    """What is hci0 today was hci1 yesterday: its figures stay together, with the name it has now beside them."""
    mine = {"adapter_address": "DC:A6:32:00:00:01"}
    await transfer(spool, "A1", 1, GOOD | mine | {"adapter": "hci1"})
    await transfer(spool, "A1", 2, GOOD | {"adapter_address": "DC:A6:32:00:00:02", "adapter": "hci0"})
    clock.now += 60
    await transfer(spool, "A1", 3, GOOD | mine | {"adapter": "hci0"})
    told = (await stats(spool, clock, DAY))["adapters"]
    assert [(one["adapter"], one["name"], one["transfers"]) for one in told] == [
        ("DC:A6:32:00:00:01", "hci0", 2),
        ("DC:A6:32:00:00:02", "hci0", 1),
    ]
