"""The link ends at every single request of a visit: nothing is lost, pulled twice once captured, or stuck."""

from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import Happened
from support.spooling import happened
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
HELD = (stored(1), stored(2))
REQUESTS = 61
"""Of a whole visit that serves these two recordings."""
MOST = 70
"""Requests at which the link is cut off; beyond the last one of a visit nothing happens, which is asserted as well."""


async def visit(directory: Path, *faults: Fault) -> tuple[int, int]:
    """Serve a recorder to the end; give back the requests of its last connection and how many faults fired."""
    air = VirtualRadio(bytes_per_s=60_000)
    armed = Faults(*faults)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=HELD, faults=armed) as recorder,
        hub_with(directory, air) as hub,
    ):
        rows = await hub.all_in(Custody.CONFIRMED, count=2)
        await hub.visited(SERIAL, since=hub.now() - 60)
        assert [await hub.audio(row.id) for row in rows] == [each.data for each in HELD]
        assert not recorder.recordings
        for row in rows:
            assert (await happened(hub.spool, row.id)).count(Happened.CAPTURED) == 1
            assert recorder.acknowledged.count(row.key.file_id) <= 1
        assert recorder.seen.connections <= 1 + len(armed.fired)
        record = await hub.recorder(SERIAL)
        assert record is not None
        assert (record.waiting_for, record.attempts) == (None, 0)
        return recorder.requests, len(armed.fired)


@pytest.mark.parametrize("kind", [FaultKind.GATT_DISCONNECT, FaultKind.LOSE_GATT_ANSWER])
@pytest.mark.parametrize("tens", range(0, MOST, 10))
async def test_the_link_ends_at_any_request_of_a_visit(tmp_path: Path, kind: FaultKind, tens: int) -> None:
    """Discovery, reads, subscriptions, commands, results, confirms: acted on or not, the next visit completes it."""
    for at in range(tens, tens + 10):
        _, fired = await visit(tmp_path / str(at), Fault(kind, at=at))
        assert fired == (at < REQUESTS), at


async def test_a_visit_has_the_requests_that_are_tried(tmp_path: Path) -> None:
    """The number of requests of a whole visit is the one up to which each was cut off."""
    requests, _ = await visit(tmp_path)
    assert requests == REQUESTS < MOST
