"""Devices: what a client may find out, and the ways a walk can go."""

import pytest

from bota_gateway.sim.cloud import Paging
from support.emulated_cloud import SERIAL, emulated


@pytest.mark.parametrize(("profile", "model"), [("d1", "device_type"), ("d2", "model"), ("e", "model")])
async def test_a_bound_device_names_its_user(profile: str, model: str) -> None:
    """Serial, status and end user are in every generation."""
    async with emulated(profile) as client:
        found = (await client.get(f"/devices/{client.device.id}")).json()
        assert (found["serial_number"], found["status"]) == (SERIAL, "bound")
        assert found["end_user_id"] == client.device.end_user_id
        assert found[model] == "bota_pin"


async def test_an_unbound_device_has_no_user() -> None:
    """Unbinding shows at the next look."""
    async with emulated() as client:
        client.cloud.devices.unbind(SERIAL)
        found = (await client.get(f"/devices/{client.device.id}")).json()
        assert (found["status"], found["end_user_id"]) == ("unbound", None)


async def test_rebinding_raises_the_generation() -> None:
    """Whoever binds next is told from who was bound before."""
    async with emulated() as client:
        before = (await client.get(f"/devices/{client.device.id}")).json()
        client.cloud.devices.bind(SERIAL, "eu_second")
        after = (await client.get(f"/devices/{client.device.id}")).json()
        assert after["end_user_id"] == "eu_second"
        assert after["binding_generation"] == before["binding_generation"] + 1


async def test_another_projects_device_does_not_exist() -> None:
    """It is in no list and can't be read."""
    async with emulated() as client:
        foreign = client.cloud.devices.register("BP000099", project="proj_other")
        assert (await client.get(f"/devices/{foreign.id}")).status_code == 404
        assert [row["serial_number"] for row in (await client.get("/devices")).json()["data"]] == [SERIAL]


@pytest.mark.parametrize(
    ("profile", "paging"), [("d1", None), ("d2", None), ("e", None), ("d2", Paging.CURSOR), ("e", Paging.OFFSET)]
)
async def test_a_walk_sees_every_device_once(profile: str, paging: Paging | None) -> None:
    """By whichever of cursor and offset the server advances on."""
    async with emulated(profile, device_paging=paging) as client:
        wanted = {SERIAL} | {client.cloud.devices.register(f"BP1{number:05d}").serial for number in range(7)}
        seen: list[str] = []
        query = ""
        while True:
            page = (await client.get(f"/devices?limit=3{query}")).json()
            seen += [row["serial_number"] for row in page["data"]]
            if not page["has_more"]:
                break
            query = f"&cursor={page['next_cursor']}" if "next_cursor" in page else f"&offset={len(seen)}"
        assert sorted(seen) == sorted(wanted)


async def test_a_stuck_list_gives_its_first_page_for_ever() -> None:
    """The reviewed backend does this once end_user_id filters; the walk of a careless client never ends."""
    async with emulated() as client:
        client.cloud.devices.register("BP000002", client.device.end_user_id)
        path = f"/devices?limit=1&end_user_id={client.device.end_user_id}"
        first = (await client.get(path)).json()
        second = (await client.get(f"{path}&cursor={first['next_cursor']}")).json()
        assert first["has_more"]
        assert second == first


async def test_registering_twice_finds_the_first() -> None:
    """201 for a new serial, 200 for a known one, 409 for another project's."""
    async with emulated() as client:
        client.cloud.devices.register("BP000099", project="proj_other")
        answers = [
            await client.post("/devices", {"serial_number": serial, "model": "bota_note"})
            for serial in ("BP000007", "BP000007", "BP000099")
        ]
        assert [answer.status_code for answer in answers] == [201, 200, 409]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        assert answers[0].json()["status"] == "unbound"


async def test_one_seed_gives_the_same_ids_and_key() -> None:
    """Two emulators of one seed can't be told apart; another seed's can."""
    async with emulated(seed=3) as one, emulated(seed=3) as two, emulated(seed=4) as other:
        assert (one.device.id, one.cloud.api_key) == (two.device.id, two.cloud.api_key)
        assert other.cloud.api_key != one.cloud.api_key
