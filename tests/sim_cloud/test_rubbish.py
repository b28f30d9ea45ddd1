"""Whatever a client sends, the emulator answers as a service would: with a refusal, never with a crash."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.sim.cloud import ApiProfile, CloudOptions, IdempotencyMode
from bota_gateway.sim.cloud.call import Answer, ApiError, Call
from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.devices import DeviceRoutes
from bota_gateway.sim.cloud.idempotency import Idempotency
from bota_gateway.sim.cloud.limits import Bucket
from bota_gateway.sim.cloud.objects import ObjectStore
from bota_gateway.sim.cloud.presigned import PARAMETERS, PresignedUrls
from bota_gateway.sim.cloud.recordings import RecordingRoutes
from bota_gateway.sim.cloud.s3_errors import S3Error
from bota_gateway.sim.cloud.world import HOME_PROJECT, World
from support.emulated_cloud import Clock

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CREATE_FIELDS = st.sampled_from(
    [
        "device_id",
        "end_user_id",
        "name",
        "metadata",
        "recorded_at",
        "started_at",
        "ended_at",
        "source",
        "upload_method",
        "recording_uuid",
        "recording_generation",
        "encryption_version",
    ]
)


async def status_of(answer: Awaitable[Answer]) -> int:
    try:
        return (await answer).status
    except ApiError as error:
        return error.status


@given(
    query=st.dictionaries(st.sampled_from(PARAMETERS), st.text(st.characters(codec="ascii"), max_size=40)),
    rest=st.text(st.characters(codec="ascii"), max_size=40),
)
def test_a_query_of_rubbish_is_refused(query: Mapping[str, str], rest: str) -> None:
    """Any query but a signed one ends in an S3 error."""
    urls = PresignedUrls(Credentials("ACCESS", "secret"), "us-east-1", Clock())
    text = "&".join(f"{name}={value}" for name, value in query.items())
    with pytest.raises(S3Error) as caught:
        urls.check("PUT", f"http://h/b/k?{text}&{rest}", {"host": "h"})
    assert caught.value.status in {400, 403}


@pytest.mark.parametrize("profile", list(ApiProfile))
@given(change=st.dictionaries(CREATE_FIELDS, JSON, max_size=4))
def test_a_create_of_rubbish_is_made_or_refused(
    tmp_path_factory: pytest.TempPathFactory, profile: ApiProfile, change: dict[str, Any]
) -> None:
    """Any JSON in any field: a recording that can be shown, or a 400 or 404 and no recording."""
    options = CloudOptions()
    world = World(options, 0, Clock())
    objects = ObjectStore(tmp_path_factory.getbasetemp() / "rubbish", Clock())
    devices = DeviceRoutes(world, profile, options)
    routes = RecordingRoutes(world, objects, Counters(), devices, profile, options)
    device = world.devices.register("BP000001")
    body = {"device_id": device.id, "end_user_id": device.end_user_id} | change
    status = asyncio.run(status_of(routes.create(Call(HOME_PROJECT, body=body))))
    assert status in {201, 400, 404}
    assert len(world.recordings) == (status == 201)


@given(
    gaps=st.lists(st.floats(0, 30), min_size=1, max_size=60),
    limit=st.integers(1, 5),
    window=st.sampled_from(["fixed", "sliding"]),
)
def test_no_window_holds_more_than_the_limit(gaps: list[float], limit: int, window: Any) -> None:
    """However calls come, at most ``limit`` are allowed in one window, and what is left is never negative."""
    bucket = Bucket(limit, window)
    now = 0.0
    allowed: list[float] = []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            allowed.append(now)
        assert bucket.remaining(now) >= 0
        assert bucket.reset_at(now) <= now + 60
    for first in allowed:
        span = (
            [at for at in allowed if at // 60 == first // 60]
            if window == "fixed"
            else [at for at in allowed if first <= at < first + 60]
        )
        assert len(span) <= limit


@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(0, 50_000)), max_size=20))
def test_strict_idempotency_executes_a_key_once_a_day(steps: list[tuple[str, int, float]]) -> None:
    """Against a model: the handler runs exactly when no outcome younger than a day is known for the key."""
    clock = Clock()
    idempotency = Idempotency(IdempotencyMode.STRICT, 5, clock)
    world = World(CloudOptions(), 0, clock)
    first_use: dict[str, tuple[float, int]] = {}
    runs = 0

    async def handler(call: Call) -> Any:
        nonlocal runs
        runs += 1
        return await DeviceRoutes(world, ApiProfile.E, CloudOptions()).list(call)

    async def play() -> None:
        nonlocal runs
        for key, body, gap in steps:
            clock.advance(gap)
            known = first_use.get(key)
            if known is not None and clock() - known[0] >= 86_400:
                known = None
            before = runs
            call = Call(HOME_PROJECT, body={"body": body})
            status = await status_of(idempotency.answer("POST /x", key, call, handler))
            assert status == (200 if known is None or known[1] == body else 409)
            assert (runs > before) == (known is None)
            if known is None:
                first_use[key] = (clock(), body)

    asyncio.run(play())
