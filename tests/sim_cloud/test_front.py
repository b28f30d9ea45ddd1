"""What every API call goes through: key, scope, rate limit, error body, idempotency."""

import asyncio
from typing import Any

import pytest

from bota_gateway.sim.cloud import ErrorVariant, IdempotencyMode
from support.emulated_cloud import Client, Clock, emulated


@pytest.mark.parametrize("header", ["", "Bearer sk_test_wrong", "Basic {key}", "{key}"])
async def test_a_wrong_key_is_unauthorized(header: str) -> None:
    """Only ``Bearer`` and a known key pass."""
    async with emulated() as client:
        answer = await client.http.get(
            f"{client.cloud.api_base}/devices", headers={"Authorization": header.format(key=client.cloud.api_key)}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


async def test_a_restricted_key_is_held_to_its_scopes() -> None:
    """What it was not made for is 403."""
    async with emulated() as client:
        client.cloud.add_key("rk_test_reader", scopes=frozenset({"devices:read"}))
        assert (await client.call("GET", "/devices", key="rk_test_reader")).status_code == 200
        assert (await client.call("GET", "/recordings", key="rk_test_reader")).status_code == 403
        assert (await client.call("POST", "/devices", {}, key="rk_test_reader")).status_code == 403


async def test_health_needs_no_key() -> None:
    """It lies outside /v1."""
    async with emulated() as client:
        answer = await client.http.get(client.cloud.api_base.removesuffix("/v1") + "/health")
        assert answer.json()["status"] == "healthy"


async def test_an_unknown_route_is_not_found() -> None:
    """With an error body like any other."""
    async with emulated() as client:
        answer = await client.get("/transcriptions")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """400, and nothing was made."""
    async with emulated() as client:
        headers = {"Authorization": f"Bearer {client.cloud.api_key}"}
        answer = await client.http.post(f"{client.cloud.api_base}/recordings", content=body, headers=headers)
        assert answer.status_code == 400
        assert not client.cloud.recordings


@pytest.mark.parametrize(
    ("variant", "shape"),
    [
        (
            ErrorVariant.CODE_DETAILS,
            {
                "error": {
                    "code": "invalid_request",
                    "message": "source must be a non-empty string",
                    "details": {"field": "source", "reason": "source must be a non-empty string"},
                }
            },
        ),
        (ErrorVariant.TYPE, {"error": {"type": "invalid_request", "message": "source must be a non-empty string"}}),
        (ErrorVariant.STRING, {"error": "source must be a non-empty string"}),
        (ErrorVariant.MESSAGE, {"message": "source must be a non-empty string"}),
    ],
)
async def test_errors_come_in_the_chosen_shape(variant: ErrorVariant, shape: dict[str, Any]) -> None:
    """One error in the shapes that have been seen."""
    async with emulated(error_variant=variant) as client:
        assert (await client.post("/recordings", client.new_recording() | {"source": 1})).json() == shape


async def test_the_shape_with_param_names_the_request() -> None:
    """Variant B has param and a request id."""
    async with emulated(error_variant=ErrorVariant.CODE_PARAM) as client:
        error = (await client.post("/recordings", client.new_recording() | {"source": 1})).json()["error"]
        assert error["param"] == "source"
        assert error["request_id"].startswith("req_")


async def test_the_limit_counts_down_and_then_refuses() -> None:
    """Headers say what is left; at zero every call is a 429 until the window turns."""
    clock = Clock()
    async with emulated(clock=clock, requests_per_minute=3) as client:
        answers = [await client.get("/devices") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert "Retry-After" not in answers[-1].headers
        assert float(answers[-1].headers["X-RateLimit-Reset"]) == clock() + 60
        clock.advance(60)
        assert (await client.get("/devices")).status_code == 200


async def test_upload_urls_have_a_bucket_of_their_own() -> None:
    """The thirty-first URL of a minute is refused while other calls pass."""
    async with emulated(upload_urls_per_minute=1) as client:
        recording = await client.create()
        await client.upload_url(recording)
        refused = await client.post(f"/recordings/{recording}/upload-url", {"content_type": "audio/ogg"})
        assert (refused.status_code, refused.headers["X-RateLimit-Limit"]) == (429, "1")
        assert (await client.get("/devices")).headers["X-RateLimit-Remaining"] == "96"


async def test_a_sliding_window_frees_call_by_call() -> None:
    """There is room again a minute after the oldest call, not at a full minute."""
    clock = Clock()
    async with emulated(clock=clock, requests_per_minute=2, rate_window="sliding", rate_retry_after=True) as client:
        await client.get("/devices")
        clock.advance(40)
        await client.get("/devices")
        refused = await client.get("/devices")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        clock.advance(59)
        assert (await client.get("/devices")).status_code == 429
        clock.advance(61)
        assert (await client.get("/devices")).status_code == 200


async def test_without_limits_there_are_no_headers() -> None:
    """Limits can be switched off."""
    async with emulated(requests_per_minute=None, upload_urls_per_minute=None) as client:
        assert not [name for name in (await client.get("/devices")).headers if name.startswith("x-ratelimit")]


async def make(client: Client, key: str, capture: str = "capture-1") -> Any:
    answer = await client.post("/recordings", client.new_recording(capture), Idempotency_Key=key)
    return answer.status_code, answer.json()


async def test_strict_replays_the_first_answer() -> None:
    """One key, one recording; another body under it is a conflict; after a day it is forgotten."""
    clock = Clock()
    async with emulated(clock=clock, idempotency=IdempotencyMode.STRICT) as client:
        first = await make(client, "key-1")
        assert await make(client, "key-1") == first
        assert (await make(client, "key-1", "capture-2"))[0] == 409
        clock.advance(86_400)
        assert (await make(client, "key-1"))[1]["id"] != first[1]["id"]


async def test_a_refusal_is_replayed_too() -> None:
    """Strict: what was refused under a key stays refused, although it would be accepted now."""
    async with emulated(idempotency=IdempotencyMode.STRICT) as client:
        body = client.new_recording() | {"end_user_id": "eu_later"}
        first = await client.post("/recordings", body, Idempotency_Key="key-1")
        client.cloud.devices.register("BP000002", "eu_later")
        again = await client.post("/recordings", body, Idempotency_Key="key-1")
        other = await client.post("/recordings", body, Idempotency_Key="key-2")
        assert [answer.status_code for answer in (first, again, other)] == [404, 404, 201]


async def test_delayed_replays_only_after_a_while() -> None:
    """A quick repeat executes again; a later one replays the first, whatever its body."""
    clock = Clock()
    async with emulated(clock=clock, idempotency_delay_s=5) as client:
        first = await make(client, "key-1")
        assert (await make(client, "key-1"))[1]["id"] != first[1]["id"]
        clock.advance(5)
        assert await make(client, "key-1", "capture-2") == first


async def test_without_idempotency_every_call_executes() -> None:
    """The header is not even read."""
    async with emulated(idempotency=IdempotencyMode.NONE) as client:
        assert (await make(client, "key-1"))[1] != (await make(client, "key-1"))[1]


async def test_a_malformed_idempotency_key_is_refused() -> None:
    """Letters, digits, - and _ only."""
    async with emulated() as client:
        assert (await make(client, "no spaces please"))[0] == 400


async def test_calls_are_counted_by_minute_and_route() -> None:
    """The busiest minute is what a rate budget is judged by; PUTs are not part of it."""
    clock = Clock()
    async with emulated(clock=clock) as client:
        await client.upload()
        clock.advance(60)
        await client.get("/devices")
        counters = client.cloud.counters
        assert counters.busiest_minute() == 2
        assert counters.busiest_minute("PUT s3") == 1
        assert [sum(calls.values()) for calls in counters.calls_per_minute().values()] == [3, 1]


async def test_many_calls_at_once_make_different_recordings() -> None:
    """Concurrency loses and doubles nothing."""
    async with emulated() as client:
        made = await asyncio.gather(*(client.create(f"capture-{number}") for number in range(20)))
        assert len(set(made)) == 20
        assert set(client.cloud.counters.creates.values()) == {1}
