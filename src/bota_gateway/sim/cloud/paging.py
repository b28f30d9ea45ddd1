"""Lists, and the ways of walking them."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bota_gateway.sim.cloud import const
from bota_gateway.sim.cloud.call import Answer, ApiError, JsonObject
from bota_gateway.sim.cloud.options import Paging

T = TypeVar("T")


def page(
    items: Sequence[T],
    query: Mapping[str, str],
    *,
    paging: Paging,
    default_limit: int,
    render: Callable[[T], JsonObject],
) -> Answer:
    """One page of a list that is already in order.

    Raises:
        ApiError: a limit, offset or cursor that makes no sense.
    """
    limit = _number(query, "limit", default_limit, least=1, most=const.LARGEST_PAGE)
    start = _start(query, paging)
    end = start + limit
    body: JsonObject = {"data": [render(item) for item in items[start:end]], "has_more": end < len(items)}
    if paging is not Paging.OFFSET:
        body["next_cursor"] = _cursor(end) if body["has_more"] else None
    if paging is Paging.STUCK:
        body["has_more"] = len(items) > limit
    return Answer(200, body)


def _start(query: Mapping[str, str], paging: Paging) -> int:
    match paging:
        case Paging.OFFSET:
            return _number(query, "offset", 0, least=0, most=1 << 31)
        case Paging.CURSOR:
            return _position(query["cursor"]) if "cursor" in query else 0
        case Paging.STUCK:
            return 0


def _number(query: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    try:
        value = int(query.get(name, default))
    except ValueError as error:
        raise ApiError(400, "invalid_request", f"{name} must be a number", field=name) from error
    if not least <= value <= most:
        raise ApiError(400, "invalid_request", f"{name} must be {least} to {most}", field=name)
    return value


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"at:{position}".encode()).decode()


def _position(cursor: str) -> int:
    try:
        found = re.fullmatch(rb"at:(\d{1,9})", base64.urlsafe_b64decode(cursor))
    except (ValueError, binascii.Error):
        found = None
    if found is None:
        raise ApiError(400, "invalid_request", "cursor is not one of ours", field="cursor")
    return int(found.group(1))


def query_filter(query: Mapping[str, str], item: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether an item has every value the query filters by."""
    return all(item[name] == query[name] for name in names if name in query)
