"""Whole visits: the simulated recorder on one side, the real radio, sync and spool rooms on the other."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.model import Binding, Custody, Membership
from bota_gateway.protocol import uuids
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.spooling import BOUND, step_on
from support.sync_hub import hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"


async def test_a_visit_brings_everything_and_lets_the_recorder_delete_it(tmp_path: Path) -> None:
    """Found, verified, listed, pulled, stored, confirmed, and the deletion seen, all in one visit."""
    air = VirtualRadio(bytes_per_s=60_000)
    held = [stored(1), stored(2, size=40_000)]
    async with SimRecorder(air, serial=SERIAL, recordings=held) as recorder, hub_with(tmp_path, air) as hub:
        rows = await hub.all_in(Custody.CONFIRMED, count=2)
        assert [await hub.audio(row.id) for row in rows] == [each.data for each in held]
        assert not recorder.recordings
        record = await hub.visited(SERIAL)
        assert (record.waiting_for, record.attempts, record.pending) == (None, 0, 0)
        begun = [effect for effect in hub.effects if effect == f"read {uuids.DEVICE_STATUS}"]
        assert len(begun) == 1


async def test_acknowledged_only_after_the_durable_commit(tmp_path: Path) -> None:
    """ACK follows the committed capture, and CONFIRM follows the committed intent, which follows stored."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with SimRecorder(air, serial=SERIAL, recordings=[stored(1)]), hub_with(tmp_path, air) as hub:
        await hub.all_in(Custody.CONFIRMED)
        told = {"spool capture", "write ACK", "spool stored", "spool intend_confirm", "write CONFIRM 00000001"}
        order = [effect for effect in hub.effects if effect in told]
        assert order == [
            "spool capture",
            "write ACK",
            "spool stored",
            "spool intend_confirm",
            "write CONFIRM 00000001",
        ]


async def test_nothing_else_is_asked_while_data_flows(tmp_path: Path) -> None:
    """Between START and ACK there is no other GATT traffic: it can cost notifications."""
    air = VirtualRadio(bytes_per_s=20_000)
    held = [stored(number, size=60_000) for number in (1, 2, 3)]
    async with SimRecorder(air, serial=SERIAL, recordings=held), hub_with(tmp_path, air) as hub:
        await hub.all_in(Custody.CONFIRMED, count=3)
        asked = [effect for effect in hub.effects if effect.startswith(("read", "write"))]
        starts = [index for index, effect in enumerate(asked) if effect.startswith("write START")]
        assert [asked[index + 1] for index in starts] == ["write ACK"] * 3


async def test_what_got_stored_meanwhile_is_confirmed_between_transfers(tmp_path: Path) -> None:
    """A full recorder gets room back during a long visit, not only at its end."""
    air = VirtualRadio(bytes_per_s=20_000)
    held = [stored(number, size=60_000) for number in (1, 2, 3)]
    async with SimRecorder(air, serial=SERIAL, recordings=held), hub_with(tmp_path, air) as hub:
        await hub.all_in(Custody.CONFIRMED, count=3)
        assert hub.effects.index("write CONFIRM 00000001") < hub.effects.index("write START 00000003")


async def test_a_slow_upload_is_confirmed_in_a_later_visit(tmp_path: Path) -> None:
    """What is not stored while the link lingers stays on the recorder, and is confirmed soon after it is stored."""
    air = VirtualRadio(bytes_per_s=60_000)
    bindings = {SERIAL: Binding(Membership.BOUND)}
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder,
        hub_with(tmp_path, air, bindings=bindings) as hub,
    ):
        await hub.until(lambda: hub.rounds.links)
        await hub.until(lambda: "spool bind" in hub.effects)
        hub.cloud_up.clear()
        first = await hub.visited(SERIAL)
        assert not any(effect.startswith("write CONFIRM") for effect in hub.effects)
        assert len(recorder.recordings) == 1
        hub.cloud_up.set()
        await hub.all_in(Custody.CONFIRMED)
        second = await hub.visited(SERIAL, since=first.last_visit_at or 0)
        assert (second.last_visit_at or 0) - (first.last_visit_at or 0) < hub.settings.visits.interval_s
        assert not recorder.recordings


async def test_a_link_waits_for_the_verdict_on_a_digest(tmp_path: Path) -> None:
    """While the cloud compares digests, and is asked again within seconds, the link lingers for its verdict."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder,
        hub_with(tmp_path, air, cloud_up=False) as hub,
    ):
        await hub.until(lambda: hub.recorder(SERIAL))
        await hub.spool.bind(SERIAL, BOUND)
        (row,) = await hub.all_in(Custody.CAPTURED)
        for _ in ("created", "put", "completing"):
            row = await step_on(hub.spool, row)
        await hub.spool.postpone(
            row.id,
            code="upload_verifying",
            detail="comparing",
            next_attempt_at=hub.now() + hub.settings.visits.linger_s * 0.9,
        )
        await asyncio.sleep(hub.settings.visits.linger_s / 2)
        assert hub.rounds.links
        await hub.spool.stored(row.id, verified=True)
        await hub.all_in(Custody.CONFIRMED)
        await hub.visited(SERIAL)
        assert hub.effects.count(f"read {uuids.DEVICE_STATUS}") == 1
        assert not recorder.recordings


async def test_never_confirm_leaves_everything_on_the_recorder(tmp_path: Path) -> None:
    """With recorders.confirm = never the cloud gets all, and the recorder is never told to delete."""
    air = VirtualRadio(bytes_per_s=60_000)
    async with (
        SimRecorder(air, serial=SERIAL, recordings=[stored(1)]) as recorder,
        hub_with(tmp_path, air, recorders={"confirm": "never"}) as hub,
    ):
        await hub.all_in(Custody.STORED)
        first = await hub.visited(SERIAL)
        await hub.visited(SERIAL, since=first.last_visit_at or 0)
        assert not any(effect.startswith("write CONFIRM") for effect in hub.effects)
        assert len(recorder.recordings) == 1
        assert hub.effects.count("write START 00000001") == 1
