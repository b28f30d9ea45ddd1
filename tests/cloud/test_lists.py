"""Lists are walked to their end, once, whatever way they page, and given up when they do not advance."""

from typing import Any

import pytest

from bota_gateway.cloud import BotaApi
from bota_gateway.errors import CloudProtocolError
from support.odd_api import DEVICE, RECORDING, api_to
from support.odd_server import answer, odd_server


def page(*numbers: int, **more: Any) -> bytes:
    """A page with these devices."""
    return answer(200, {"data": [DEVICE | {"id": f"dev_{number}"} for number in numbers]} | more)


async def walked(api: BotaApi) -> list[str]:
    """Ids in the order they came."""
    return [device.id async for device in api.devices()]


async def test_a_cursor_is_followed() -> None:
    """Whenever there is one, also where has_more is missing."""
    pages = [page(1, 2, next_cursor="a&b"), page(3, next_cursor="c", has_more=True), page(4, next_cursor=None)]
    async with odd_server(*pages) as odd, api_to(odd) as api:
        assert await walked(api) == ["dev_1", "dev_2", "dev_3", "dev_4"]
    assert [received.target for received in odd.received] == [
        "/v1/devices?limit=100",
        "/v1/devices?limit=100&cursor=a%26b",
        "/v1/devices?limit=100&cursor=c",
    ]


async def test_without_a_cursor_the_offset_goes_on() -> None:
    """has_more without a cursor means the older way of paging."""
    pages = [page(1, 2, has_more=True), page(3, has_more=False)]
    async with odd_server(*pages) as odd, api_to(odd) as api:
        assert await walked(api) == ["dev_1", "dev_2", "dev_3"]
    assert odd.received[1].target == "/v1/devices?limit=100&offset=2"


async def test_a_row_that_moved_to_the_next_page_comes_once() -> None:
    """A device registered during the walk shifts the others by one."""
    pages = [page(1, 2, has_more=True), page(2, 3, has_more=False)]
    async with odd_server(*pages) as odd, api_to(odd) as api:
        assert await walked(api) == ["dev_1", "dev_2", "dev_3"]


@pytest.mark.parametrize(
    "pages",
    [
        [page(1, 2, has_more=True)],
        [page(1, next_cursor="a"), page(2, next_cursor="a")],
        [page(1, next_cursor="a"), page(2, next_cursor="b"), page(3, next_cursor="a")],
        [page(1, next_cursor="a"), page(1, next_cursor="b")],
        [page(next_cursor="a")],
        [page(1, next_cursor="x" * 3000)],
        [answer(200, {"has_more": False})],
        [answer(200, {"data": {}})],
        [answer(200, {"data": [1, 2]})],
    ],
)
async def test_a_list_that_leads_nowhere_is_given_up(pages: list[bytes]) -> None:
    """A page with nothing new, a cursor seen before, no rows at all: no loop, and no half result taken for a whole."""
    async with odd_server(*pages) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await walked(api)
    assert len(odd.received) <= 4


async def test_an_empty_list_is_a_list() -> None:
    """Nothing registered, nothing found."""
    async with odd_server(page(has_more=False)) as odd, api_to(odd) as api:
        assert await walked(api) == []


async def test_has_more_without_rows_ends() -> None:
    """An empty page has nothing after it."""
    async with odd_server(page(1, has_more=True), page(has_more=True)) as odd, api_to(odd) as api:
        assert await walked(api) == ["dev_1"]


async def test_an_unreadable_recording_is_not_skipped() -> None:
    """It could be the one that is looked for after a lost answer."""
    rows = [RECORDING, {"id": "rec_2"}]
    async with odd_server(answer(200, {"data": rows})) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            _ = [seen async for seen in api.recordings(end_user_id="eu_1")]
    assert odd.received[0].target == "/v1/recordings?limit=100&end_user_id=eu_1"
