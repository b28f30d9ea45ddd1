"""Serials become bindings: by the map, by the id known before, by a walk."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.config import RecorderSettings, Settings
from bota_gateway.model import Membership
from bota_gateway.sim.cloud.faults import EditedAnswer, Status
from bota_gateway.sim.cloud.options import Paging
from bota_gateway.upload.const import IN_USE_S
from support.uploading import SERIAL, Hub, hub

pytestmark = pytest.mark.virtual_time
WALK, GET = "GET /devices", "GET /devices/{id}"


async def meet(it: Hub, *serials: str) -> None:
    """Recorders in range."""
    for serial in serials:
        await it.spool.note_recorder(serial, address="C0:FF:EE:00:00:01", name=None, rssi=None)


async def memberships(it: Hub) -> dict[str, Membership]:
    """As the spool knows them."""
    return {recorder.serial: recorder.binding.membership for recorder in await it.spool.recorders()}


async def all_resolved(it: Hub) -> dict[str, Membership]:
    """Wait until the cloud has said something of each recorder."""
    async with asyncio.timeout(86_400):
        while True:
            revision = it.spool.revision
            found = await memberships(it)
            if Membership.UNRESOLVED not in found.values():
                return found
            await it.spool.wait_for_change(revision)


async def test_recorders_are_bound_unbound_or_strangers(tmp_path: Path) -> None:
    """The list of the project tells which is which, with the identities an upload needs."""
    async with hub(tmp_path) as it:
        it.cloud.devices.register("BP000002", None)
        it.cloud.devices.register("BP000003", project="proj_other")
        await meet(it, SERIAL, "BP000002", "BP000003")
        async with it.running(it.registrar()):
            assert await all_resolved(it) == {
                SERIAL: Membership.BOUND,
                "BP000002": Membership.UNBOUND,
                "BP000003": Membership.STRANGER,
            }
        assert (await it.spool.recorder(SERIAL)).binding == it.binding()


@pytest.mark.parametrize("paging", [Paging.CURSOR, Paging.OFFSET])
async def test_a_long_list_is_walked_whichever_way_it_pages(tmp_path: Path, paging: Paging) -> None:
    """Several pages, by cursor or by offset; one walk answers for all serials."""
    async with hub(tmp_path, device_paging=paging) as it:
        for number in range(250):
            it.cloud.devices.register(f"XX{number:06}")
        await meet(it, SERIAL, "XX000000", "XX000249")
        async with it.running(it.registrar()):
            found = await all_resolved(it)
        assert set(found.values()) == {Membership.BOUND}
        assert it.cloud.counters.calls[WALK] == 3


async def test_a_list_that_does_not_advance_is_given_up(tmp_path: Path) -> None:
    """The walk ends at the first page that repeats, and the recorder stays unresolved instead of a stranger."""
    async with hub(tmp_path, device_paging=Paging.STUCK) as it:
        for number in range(150):
            it.cloud.devices.register(f"XX{number:06}")
        await meet(it, "BP000099")
        async with it.running(it.registrar()):
            await asyncio.sleep(60)
            assert await memberships(it) == {"BP000099": Membership.UNRESOLVED}
            assert it.cloud.counters.calls[WALK] <= 12


async def test_the_map_spares_the_walk(tmp_path: Path) -> None:
    """A mapped serial costs one call, and the device must say the same serial."""
    async with hub(tmp_path) as it:
        device = it.cloud.devices.by_serial(SERIAL)
        settings = Settings(recorders=RecorderSettings(map={SERIAL: device.id}))
        await meet(it, SERIAL)
        async with it.running(it.registrar(settings)):
            assert await all_resolved(it) == {SERIAL: Membership.BOUND}
        assert it.cloud.counters.calls == {GET: 1}


@pytest.mark.parametrize("mapped", ["dev_gone", "the other recorder's"])
async def test_a_wrong_map_is_not_believed(tmp_path: Path, mapped: str) -> None:
    """An id that is unknown or another recorder's is reported, and the list decides."""
    async with hub(tmp_path) as it:
        other = it.cloud.devices.register("BP000002")
        device_id = mapped if mapped.startswith("dev_") else other.id
        await meet(it, SERIAL)
        async with it.running(it.registrar(Settings(recorders=RecorderSettings(map={SERIAL: device_id})))):
            await all_resolved(it)
        assert (await it.spool.recorder(SERIAL)).binding == it.binding()


async def test_a_new_binding_is_noticed(tmp_path: Path) -> None:
    """A recorder in use is asked about every quarter of an hour, so that captures are filed under its present user."""
    async with hub(tmp_path) as it:
        await meet(it, SERIAL)
        async with it.running(it.registrar()):
            await all_resolved(it)
            it.cloud.devices.bind(SERIAL, "eu_somebodyelse")
            async with asyncio.timeout(1000):
                while (await it.spool.recorder(SERIAL)).binding.end_user_id != "eu_somebodyelse":
                    await it.spool.wait_for_change(it.spool.revision)


async def test_a_recorder_set_up_later_is_no_stranger_for_a_day(tmp_path: Path) -> None:
    """Unbound recorders are asked about often; strangers, too, in the hour after they were met, and then no more."""
    async with hub(tmp_path) as it:
        it.cloud.devices.register("BP000002", None)
        await meet(it, "BP000002", "BP000003")
        async with it.running(it.registrar()):
            await all_resolved(it)
            it.cloud.devices.bind("BP000002")
            it.cloud.devices.register("BP000003")
            await asyncio.sleep(400)
            assert await memberships(it) == {"BP000002": Membership.BOUND, "BP000003": Membership.BOUND}
            await meet(it, "BP000004")
            await asyncio.sleep(IN_USE_S + 60)
            it.cloud.devices.register("BP000004")
            await asyncio.sleep(86_400)
            assert (await memberships(it))["BP000004"] is Membership.STRANGER
            await meet(it, "BP000004")
            async with asyncio.timeout(10):
                while (await memberships(it))["BP000004"] is not Membership.BOUND:
                    await it.spool.wait_for_change(it.spool.revision)


async def test_strangers_of_a_large_project_cost_one_call_a_minute(tmp_path: Path) -> None:
    """A walk of ten calls is repeated for them every ten minutes at most, however many pass by."""
    async with hub(tmp_path) as it:
        for number in range(999):
            it.cloud.devices.register(f"XX{number:06}")
        async with it.running(it.registrar()):
            for number in range(6):
                await meet(it, f"ZZ{number:06}")
                await asyncio.sleep(30)
            await all_resolved(it)
            before = it.cloud.counters.calls[WALK]
            await asyncio.sleep(3000)
            assert it.cloud.counters.calls[WALK] - before <= 3000 / 60
            assert set((await memberships(it)).values()) == {Membership.STRANGER}


async def test_a_clock_that_was_set_back_delays_no_question(tmp_path: Path) -> None:
    """Asked while the hub's clock stood a year ahead: the next question does not wait for that year."""
    async with hub(tmp_path) as it:
        it.wall.offset_s = 365 * 86_400.0
        await meet(it, "BP000002")
        async with it.running(it.registrar()):
            assert await all_resolved(it) == {"BP000002": Membership.STRANGER}
        it.wall.offset_s = 0.0
        it.cloud.devices.register("BP000002")
        await meet(it, "BP000002")
        async with it.running(it.registrar()):
            await asyncio.sleep(120)
            assert await memberships(it) == {"BP000002": Membership.BOUND}


async def test_recorders_that_left_are_not_asked_about(tmp_path: Path) -> None:
    """What has not been seen for an hour costs no calls."""
    async with hub(tmp_path) as it:
        await meet(it, SERIAL)
        async with it.running(it.registrar()):
            await all_resolved(it)
            await asyncio.sleep(2 * 3600)
            calls = dict(it.cloud.counters.calls)
            await asyncio.sleep(86_400)
            assert dict(it.cloud.counters.calls) == calls


async def test_denied_recorders_are_not_asked_about(tmp_path: Path) -> None:
    """Serials that are not served cost no calls and tell the cloud nothing."""
    async with hub(tmp_path) as it:
        await meet(it, "BP000002", "BP000003", SERIAL)
        settings = Settings(recorders=RecorderSettings(allow=(SERIAL, "BP000003"), deny=("BP000003",)))
        async with it.running(it.registrar(settings)):
            async with asyncio.timeout(60):
                while (await memberships(it))[SERIAL] is Membership.UNRESOLVED:
                    await it.spool.wait_for_change(it.spool.revision)
        found = await memberships(it)
        assert found["BP000002"] is found["BP000003"] is Membership.UNRESOLVED


async def test_one_unreadable_device_hides_no_other(tmp_path: Path) -> None:
    """A row without serial is skipped; the others are found."""
    async with hub(tmp_path) as it:
        await meet(it, SERIAL)
        device = it.cloud.devices.by_serial(SERIAL)
        page = {"data": [{"id": "dev_odd"}, _as_listed(device.id, device.end_user_id)], "has_more": False}
        it.cloud.faults.add(WALK, EditedAnswer(replace=page))
        async with it.running(it.registrar()):
            assert await all_resolved(it) == {SERIAL: Membership.BOUND}


def _as_listed(device_id: str, end_user_id: str | None) -> dict[str, object]:
    return {"id": device_id, "serial_number": SERIAL, "status": "bound", "end_user_id": end_user_id}


async def test_a_cloud_that_fails_is_asked_again(tmp_path: Path) -> None:
    """Failures are waited out; nobody becomes a stranger by them."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(WALK, Status(status=500), times=2)
        it.cloud.faults.add(WALK, Status(status=403), nth=3, times=2)
        await meet(it, SERIAL)
        async with it.running(it.registrar()):
            assert await all_resolved(it) == {SERIAL: Membership.BOUND}


async def test_a_serial_carried_twice_is_not_guessed(tmp_path: Path) -> None:
    """Two bound devices with one serial: unresolved until the operator says which, by the map."""
    async with hub(tmp_path) as it:
        right = it.cloud.devices.by_serial(SERIAL)
        it.cloud.devices.register("BP000002").serial = SERIAL
        await meet(it, SERIAL)
        async with it.running(it.registrar()):
            await asyncio.sleep(600)
            assert await memberships(it) == {SERIAL: Membership.UNRESOLVED}
        async with it.running(it.registrar(Settings(recorders=RecorderSettings(map={SERIAL: right.id})))):
            assert await all_resolved(it) == {SERIAL: Membership.BOUND}
        assert (await it.spool.recorder(SERIAL)).binding.device_id == right.id


async def test_an_unbound_namesake_is_no_rival(tmp_path: Path) -> None:
    """An old registration that nobody is bound to does not stand in the way of the bound one."""
    async with hub(tmp_path) as it:
        right = it.cloud.devices.by_serial(SERIAL)
        it.cloud.devices.register("BP000002", None).serial = SERIAL
        await meet(it, SERIAL)
        async with it.running(it.registrar()):
            await all_resolved(it)
        assert (await it.spool.recorder(SERIAL)).binding.device_id == right.id
