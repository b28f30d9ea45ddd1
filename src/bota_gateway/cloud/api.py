"""The Bota API as typed calls (docs/cloud-api.md); each waits for its turn in the budget."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import structlog
from pydantic import SecretStr

from bota_gateway.cloud.answers import (
    CloudDevice,
    CloudRecording,
    Page,
    UploadTicket,
    is_another_party,
    parse_device,
    parse_object,
    parse_page,
    parse_rates,
    parse_recording,
    parse_refusal,
    parse_ticket,
)
from bota_gateway.cloud.budget import Budget, BudgetLimits, Call, RateHeaders
from bota_gateway.cloud.clock import ServerClock
from bota_gateway.cloud.const import CALL_S, MAX_ANSWER_BYTES, MAX_PAGES, PAGE_SIZE
from bota_gateway.cloud.contracts import Contract, ContractChoice
from bota_gateway.cloud.hygiene import checked_id
from bota_gateway.cloud.s3 import ObjectStore, PutOutcome
from bota_gateway.cloud.transport import Answer, exchange, make_client, read_capped, system_trust
from bota_gateway.config import CloudSettings
from bota_gateway.errors import CloudProtocolError, CloudRefusedError, CloudUnreachableError
from bota_gateway.model import WallClock

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
T = TypeVar("T")

REFUSALS: Final = {
    400: ("cloud_invalid_request", "Compare cloud.profile with the API's generation; report it if it stays."),
    401: (
        "cloud_unauthorized",
        "Put a valid key into /etc/bota-gateway/api-key, then: sudo systemctl restart bota-gateway.",
    ),
    403: ("cloud_forbidden", "Give the key devices:read, recordings:read and recordings:write in the dashboard."),
    404: ("cloud_not_found", "Check that the key belongs to the project of this recorder."),
    409: ("cloud_conflict", "Nothing to do: the recording is read and decided upon."),
    413: ("cloud_too_large", "The file exceeds a limit of the API: export it and ask Bota."),
    422: ("cloud_invalid_request", "Compare cloud.profile with the API's generation; report it if it stays."),
    429: ("cloud_rate_limited", "Nothing to do: calls go on when the limit allows. Lower cloud.share if it stays."),
    500: ("cloud_server_error", "Nothing to do: it is tried again. If it stays for hours, ask Bota."),
}
"""Code and remedy by HTTP status; 500 stands for all above it, too."""


DECIDING: Final = frozenset({400, 404, 409, 422})
"""Refusals that decide what becomes of a recording: they must be the API's own. Of others the status is enough."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Completion was accepted; whether it is *proved* the recording says."""

    recording: CloudRecording


@dataclass(frozen=True, slots=True)
class Verifying:
    """Completion is accepted for now (425): the stored bytes are being verified; repeat the identical call later."""


@dataclass(frozen=True, slots=True)
class Glance:
    """The newest row of a list, and what the answer said of the limits."""

    row: Mapping[str, Any] | None
    """None when the list is empty."""
    rates: RateHeaders


class BotaApi:
    """A session with the API and with S3; an async context manager.

    Args:
        settings: The ``[cloud]`` section.
        api_key: Secret or restricted key; never in a message, a log or a repr.
        now: The hub's clock; the server's own is learned from its answers.
        limits: Allowances and pauses; None derives them from the settings.
        rng: Jitter.
        call_s: Time limit of one call.
    """

    def __init__(
        self,
        settings: CloudSettings,
        api_key: SecretStr,
        now: WallClock,
        *,
        limits: BudgetLimits | None = None,
        rng: Random | None = None,
        call_s: float = CALL_S,
    ) -> None:
        self._base = settings.api_base
        self._key = api_key
        self._call_s = call_s
        self.clock = ServerClock(now)
        self.contracts = ContractChoice(settings.profile)
        self.budget = Budget(limits or _limits(settings), share=settings.share, rng=rng or Random())  # noqa: S311 - jitter
        trust = system_trust()
        self._client = make_client(trust, connections=settings.parallel_uploads + 2)
        self._store = ObjectStore(
            make_client(trust, connections=settings.parallel_uploads), settings.s3_hosts, self.clock
        )
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._clients.push_async_callback(self._client.aclose)
        self._clients.push_async_callback(self._store.aclose)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    # -- devices -----------------------------------------------------------------------------------------------

    async def device(self, device_id: str) -> CloudDevice:
        """One device.

        Raises:
            CloudError: As every call: unreachable, refused (404: not in this project) or not understood.
        """
        device = parse_device(await self._call(Call.DEVICE, "GET", "/devices/{id}", checked_id(device_id)))
        _require_same(device.id, device_id)
        return device

    def devices(self) -> AsyncIterator[CloudDevice]:
        """Every device of the project, page by page. There is no filter by serial in any generation."""
        return self._walk(Call.INVENTORY, "/devices", {}, _device_if_readable)

    # -- recordings --------------------------------------------------------------------------------------------

    async def recording(self, recording_id: str) -> CloudRecording:
        """One recording."""
        row = await self._call(Call.RECONCILE, "GET", "/recordings/{id}", checked_id(recording_id))
        return self._asked_for(row, recording_id)

    def recordings(self, *, end_user_id: str) -> AsyncIterator[CloudRecording]:
        """Recordings of a user, newest first: the one filter whose paging was seen to work live."""
        return self._walk(Call.RECONCILE, "/recordings", {"end_user_id": end_user_id}, parse_recording)

    async def create(self, body: Mapping[str, Any], *, idempotency_key: str) -> CloudRecording:
        """Create a recording. Not idempotent by itself: after a lost answer, look before trying again."""
        row = await self._call(
            Call.CREATE, "POST", "/recordings", body=body, headers={"Idempotency-Key": idempotency_key}
        )
        return self._learned(parse_recording(row))

    async def upload_url(
        self, recording_id: str, *, contract: Contract, content_type: str, size_bytes: int
    ) -> UploadTicket:
        """A presigned URL for one PUT; repeatable."""
        body = contract.upload_url_body(content_type, size_bytes)
        route = "/recordings/{id}/upload-url"
        row = await self._call(Call.UPLOAD_URL, "POST", route, checked_id(recording_id), body=body)
        return parse_ticket(row, content_type)

    async def put(self, ticket: UploadTicket, body: AsyncIterator[bytes], size_bytes: int) -> PutOutcome:
        """Send the bytes to S3; does not count towards the budget (s3.py)."""
        return await self._store.put(ticket, body, size_bytes)

    async def complete(self, recording_id: str, *, contract: Contract, sha256: str) -> Completed | Verifying:
        """Say that the bytes are there; with the digest, where the contract takes one."""
        route = "/recordings/{id}/upload-complete"
        body = contract.complete_body(sha256)
        try:
            row = await self._call(Call.COMPLETE, "POST", route, checked_id(recording_id), body=body)
        except CloudRefusedError as error:
            if error.status != 425:
                raise
            return Verifying()
        return Completed(self._asked_for(row, recording_id))

    # -- the key -----------------------------------------------------------------------------------------------

    async def glance(self, call: Call, route: Literal["/devices", "/recordings"]) -> Glance:
        """The newest row of a list, to see whether the key may read it; nothing is changed by it.

        Raises:
            CloudError: As every call.
        """
        row, rates = await self._rated(call, "GET", route, query={"limit": 1})
        page = parse_page(row)
        return Glance(page.rows[0] if page.rows else None, rates)

    # -- underneath --------------------------------------------------------------------------------------------

    def _asked_for(self, row: Mapping[str, Any], recording_id: str) -> CloudRecording:
        recording = parse_recording(row)
        _require_same(recording.id, recording_id)
        return self._learned(recording)

    def _learned(self, recording: CloudRecording) -> CloudRecording:
        self.contracts.observe(recording)
        return recording

    async def _walk(
        self, call: Call, route: str, query: Mapping[str, str | int], parse: Callable[[Mapping[str, Any]], T | None]
    ) -> AsyncIterator[T]:
        """Every row of a list: by cursor where the answer has one, else by offset ("Lists").

        Raises:
            CloudProtocolError: A page brought nothing new or a cursor came twice: the list would never end. (Single
                rows may come twice: a recording created meanwhile shifts the others.)
        """
        seen: set[str] = set()
        cursors: set[str] = set()
        where: dict[str, str | int] = {}
        for _ in range(MAX_PAGES):
            page = await self._page(call, route, {**query, **where})
            fresh = [row for row in page.rows if str(row.get("id")) not in seen]
            for row in fresh:
                seen.add(str(row.get("id")))
                if (item := parse(row)) is not None:
                    yield item
            if page.next_cursor is None and not (page.has_more and page.rows):
                return
            if not fresh or page.next_cursor in cursors:
                raise CloudProtocolError(f"{route}: the list repeats itself", code="cloud_list_stuck")
            if page.next_cursor is not None:
                cursors.add(page.next_cursor)
            where = {"offset": len(seen)} if page.next_cursor is None else {"cursor": page.next_cursor}
        raise CloudProtocolError(f"{route}: the list does not end", code="cloud_list_stuck")

    async def _page(self, call: Call, route: str, query: Mapping[str, str | int]) -> Page:
        return parse_page(await self._call(call, "GET", route, query={"limit": PAGE_SIZE, **query}))

    async def _call(self, call: Call, method: str, route: str, identifier: str = "", **more: Any) -> Mapping[str, Any]:
        """One call; gives back the object of its answer."""
        return (await self._rated(call, method, route, identifier, **more))[0]

    async def _rated(
        self,
        call: Call,
        method: str,
        route: str,
        identifier: str = "",
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, Any], RateHeaders]:
        """One call, and what its answer says of the limits. Errors name the route's template, not what stood in it."""
        what = f"{method} {route}"
        async with self.budget.admitted(call) as slot:
            try:
                answer = await self._exchange(what, method, route.replace("{id}", identifier), query, body, headers)
                row = _understood(what, answer)
            except (CloudUnreachableError, CloudProtocolError) as error:
                self.budget.unanswered(slot, error.message)
                raise
            self.clock.observe(answer.headers.get("Date"))
            rates = parse_rates(answer, self.clock.now())
            self.budget.answered(slot, answer.status, rates)
        if row is not None:
            return row, rates
        raise self._refused(what, call, answer, rates.retry_after_s)

    async def _exchange(
        self,
        what: str,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self._key.get_secret_value()}", "Accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
            sent["Content-Type"] = "application/json"
        request = self._client.build_request(
            method, self._base + path, params=query, content=content, headers=sent | dict(headers or {})
        )
        async with exchange(what, self._call_s):
            response = await self._client.send(request, stream=True)
            try:
                return await read_capped(response, MAX_ANSWER_BYTES)
            finally:
                await response.aclose()

    def _refused(self, what: str, call: Call, answer: Answer, retry_after_s: float | None) -> Exception:
        refusal = parse_refusal(answer)
        said = f" {refusal.code}" if refusal.code else ""
        code, remedy = REFUSALS.get(min(answer.status, 500), (None, None))
        wait_s = self.budget.wait_s(call) if answer.status in {401, 403, 429} else None
        return CloudRefusedError(
            f"{what}: {answer.status}{said}",
            status=answer.status,
            body_code=refusal.code,
            retry_after_s=wait_s or retry_after_s,
            fields=refusal.fields,
            code=code,
            remedy=remedy,
        )


def _understood(what: str, answer: Answer) -> Mapping[str, Any] | None:
    """The object of an answer that says yes; None for one that says no.

    Raises:
        CloudProtocolError: Nothing that the API would say. It teaches nothing, neither the time nor the limits.
    """
    if 200 <= answer.status < 300:
        return parse_object(answer)
    if 300 <= answer.status < 400:
        raise CloudProtocolError(
            f"{what}: redirected ({answer.status}), which is never followed", code="cloud_redirected"
        )
    if answer.status in DECIDING and is_another_party(answer):
        raise CloudProtocolError(f"{what}: {answer.status}, in words that are not the API's", code="cloud_bad_answer")
    return None


def _require_same(told: str, asked: str) -> None:
    """An answer about another one than asked for decides nothing."""
    if told != asked:
        raise CloudProtocolError("the answer is about another one than asked for", code="cloud_bad_answer")


def _device_if_readable(row: Mapping[str, Any]) -> CloudDevice | None:
    """One device that can't be read must not hide the others of the project."""
    try:
        return parse_device(row)
    except CloudProtocolError as error:
        log.warning("cloud_device_unreadable", reason=error.message)
        return None


def _limits(settings: CloudSettings) -> BudgetLimits:
    return BudgetLimits(
        requests_per_minute=settings.requests_per_minute * settings.share,
        upload_urls_per_minute=settings.upload_urls_per_minute * settings.share,
    )
