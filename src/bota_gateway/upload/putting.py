"""Created → put: the bytes to S3, exactly those that were captured (docs/cloud-api.md, "The PUT")."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import assert_never

import structlog

from bota_gateway.cloud import Contract, PutKind, PutOutcome, UploadTicket
from bota_gateway.cloud.s3 import still_good
from bota_gateway.errors import CloudRefusedError
from bota_gateway.milestones import Milestones
from bota_gateway.model import Recording
from bota_gateway.upload.const import URLS_IN_A_ROW
from bota_gateway.upload.judging import Verdict, is_enough, judge
from bota_gateway.upload.setbacks import FailedInCloud, Gone, NotProved, Parked, Postponed, Rotten, Why
from bota_gateway.upload.tools import Tools, Working

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Putting:
    """The step. Upload URLs are kept in memory only, and only while a try with the same one is due."""

    tools: Tools
    _kept: dict[int, UploadTicket] = field(default_factory=dict)

    async def run(self, recording: Recording, working: Working) -> Recording:
        """Send the bytes; gives back the row, put or further on."""
        content_type = await self.tools.content_type(recording)
        renewed = False
        for _ in range(URLS_IN_A_ROW):
            ticket = self._kept_ticket(recording)
            if ticket is None:
                got = await self._ask(recording, content_type)
                if isinstance(got, Recording):
                    return got
                ticket = got
            outcome = await self._send(recording, ticket, working)
            match outcome.kind:
                case PutKind.STORED:
                    return await self.tools.spool.put_done(recording.id)
                case PutKind.EXPIRED:
                    continue
                case PutKind.RENEW if not renewed:
                    renewed = True
                case PutKind.RENEW | PutKind.REFUSED:
                    raise Parked(outcome.code, f"{outcome.detail}. Export the recording and report this.")
                case PutKind.RETRY:
                    self._keep(recording, ticket)
                    raise self._later(outcome)
                case PutKind.UNKNOWN:
                    raise self._later(outcome)
                case _ as never:
                    assert_never(never)
        offset = round(self.tools.api.clock.offset_s)
        detail = (
            f"{URLS_IN_A_ROW} upload URLs were expired when used; the hub's clock is {-offset:+d} s off the cloud's."
        )
        raise Postponed("cloud_url_expired", detail, backoff=self.tools.timing.refused)

    # -- upload URLs -------------------------------------------------------------------------------------------

    async def _ask(self, recording: Recording, content_type: str) -> UploadTicket | Recording:
        """A new upload URL; or the row, when the cloud turns out to have the bytes already."""
        contracts = self.tools.api.contracts
        tried: list[Contract] = []
        contract: Contract | None = contracts.current
        while contract is not None:
            tried.append(contract)
            try:
                ticket = await self.tools.api.upload_url(
                    str(recording.cloud_id),
                    contract=contract,
                    content_type=content_type,
                    size_bytes=recording.size_bytes or 0,
                )
            except CloudRefusedError as error:
                row, contract = await self._refused(recording, error, tried)
                if row is not None:
                    return row
                continue
            contracts.accepted(contract)
            return ticket
        raise AssertionError("a refused upload URL ends in a setback, a row or another contract")

    async def _refused(
        self, recording: Recording, error: CloudRefusedError, tried: list[Contract]
    ) -> tuple[Recording | None, Contract | None]:
        tools = self.tools
        if error.status == 404:
            raise Gone(recording.cloud_id) from None
        if error.status not in {400, 409, 422}:
            raise error
        other = tools.api.contracts.alternative(error.fields, tried)
        if other is not None:
            return None, other
        seen = await tools.read(recording)
        enough = is_enough(tools.api.contracts.current, accept_unverified=tools.settings.accept_unverified)
        match judge(recording, seen):
            case Verdict.PROVED:
                return await tools.store(recording, verified=True), None
            case Verdict.UNPROVED if enough:
                return await tools.store(recording, verified=False), None
            case Verdict.UNPROVED:
                raise NotProved(seen.status) from error
            case Verdict.FAILED:
                raise FailedInCloud from error
            case Verdict.VERIFYING:
                raise Postponed(Why.VERIFYING, f"The cloud is {seen.status}.", backoff=tools.timing.refused) from error
            case Verdict.WAITING | Verdict.DAMAGED:
                detail = f"{error.message}, while the recording is {seen.status}. Report this, then retry."
                raise Parked(Why.URL_REFUSED, detail) from error

    def _keep(self, recording: Recording, ticket: UploadTicket) -> None:
        server_now = self.tools.api.clock.now()
        self._kept = {key: kept for key, kept in self._kept.items() if still_good(kept, server_now)}
        self._kept[recording.id] = ticket

    def _kept_ticket(self, recording: Recording) -> UploadTicket | None:
        ticket = self._kept.pop(recording.id, None)
        return ticket if ticket is not None and still_good(ticket, self.tools.api.clock.now()) else None

    def _later(self, outcome: PutOutcome) -> Postponed:
        backoff = self.tools.timing.network
        return Postponed(outcome.code, outcome.detail, backoff=backoff, at_least_s=outcome.retry_after_s)

    # -- bytes -------------------------------------------------------------------------------------------------

    async def _send(self, recording: Recording, ticket: UploadTicket, working: Working) -> PutOutcome:
        working.sent_bytes = 0
        started = asyncio.get_running_loop().time()
        log.debug("upload_started", bytes=recording.size_bytes)
        async with aclosing(self._checked(recording, working)) as body:
            outcome = await self.tools.api.put(ticket, body, recording.size_bytes or 0)
        seconds = asyncio.get_running_loop().time() - started
        if outcome.kind is PutKind.STORED:
            log.info("upload_sent", bytes=recording.size_bytes, seconds=round(seconds, 3))
        return outcome

    async def _checked(self, recording: Recording, working: Working) -> AsyncGenerator[bytes, None]:
        """The recording's bytes; the last piece goes only when all of them have the captured digest.

        A PUT without its last bytes stores nothing, so rotten audio never even reaches the bucket.
        """
        digest = hashlib.sha256()
        clock = asyncio.get_running_loop().time
        began, milestones = clock(), Milestones(recording.size_bytes or 0, clock())
        held = b""
        async with aclosing(self.tools.audio(recording)) as pieces:
            async for piece in pieces:
                if held:
                    yield held
                    working.sent_bytes += len(held)
                    if milestones.due(sent := working.sent_bytes, clock()):
                        percent, seconds = milestones.percent(sent), round(clock() - began)
                        log.info("upload_progress", percent=percent, sent=sent, seconds=seconds)
                digest.update(piece)
                held = piece
        if digest.hexdigest() != recording.sha256:
            raise Rotten("The audio in the spool does not have the digest it was captured with.")
        if held:
            yield held
            working.sent_bytes += len(held)
