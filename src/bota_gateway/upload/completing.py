"""Put → completing → stored: completion is asked for, and believed only as far as it is proved.

Source: docs/cloud-api.md, "What counts as stored".
"""

from dataclasses import dataclass
from typing import assert_never

import structlog

from bota_gateway.cloud import Contract, Verifying
from bota_gateway.errors import CloudRefusedError
from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Happened
from bota_gateway.upload.const import INTEGRITY_ROUNDS
from bota_gateway.upload.judging import Verdict, is_enough, judge
from bota_gateway.upload.setbacks import FailedInCloud, NotProved, Parked, StillVerifying, Why
from bota_gateway.upload.tools import Tools

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Completing:
    """The step."""

    tools: Tools

    async def run(self, recording: Recording) -> Recording:
        """Ask for completion; gives back the row, stored or back at created.

        After a restart or a lost answer the recording is read first: completion may have been done.
        """
        if recording.state is Custody.PUT:
            recording = await self.tools.spool.intend_complete(recording.id)
            return await self.ask(recording)
        if recording.waiting_for == Why.VERIFYING:
            return await self.ask(recording)  # the cloud said that it is at work: the same again, nothing to find out
        seen = await self.tools.read(recording)
        match judge(recording, seen):
            case Verdict.PROVED:
                return await self.tools.store(recording, verified=True)
            case Verdict.DAMAGED:
                return await self._again(recording, f"the cloud stored other bytes ({seen.status})")
            case Verdict.UNPROVED if self._enough():
                return await self.tools.store(recording, verified=False)
            case _:
                return await self.ask(recording)

    async def ask(self, recording: Recording) -> Recording:
        """The call; repeated identically while the cloud verifies.

        Raises:
            StillVerifying: Repeat it later.
        """
        contracts = self.tools.api.contracts
        tried: list[Contract] = []
        contract: Contract | None = contracts.current
        while contract is not None:
            tried.append(contract)
            try:
                answer = await self.tools.api.complete(
                    str(recording.cloud_id), contract=contract, sha256=str(recording.sha256)
                )
            except CloudRefusedError as error:
                row, contract = await self._refused(recording, error, tried)
                if row is not None:
                    return row
                continue
            contracts.accepted(contract)
            if isinstance(answer, Verifying):
                raise StillVerifying
            verdict = judge(recording, answer.recording)
            if verdict in {Verdict.PROVED, Verdict.VERIFYING}:
                return await self._decide(recording, verdict, answer.recording.status)
            # Not success as it stands: what the recording says when read decides.
            seen = await self.tools.read(recording)
            return await self._decide(recording, judge(recording, seen), seen.status)
        raise AssertionError("a refused completion ends in a setback, a row or another contract")

    async def _refused(
        self, recording: Recording, error: CloudRefusedError, tried: list[Contract]
    ) -> tuple[Recording | None, Contract | None]:
        """400 and 409 say different things in different generations: the recording is read, and its state decides."""
        if error.status not in {400, 404, 409, 422}:
            raise error
        seen = await self.tools.read(recording)
        verdict = judge(recording, seen)
        if verdict is Verdict.WAITING and error.status in {400, 422}:
            other = self.tools.api.contracts.alternative(error.fields, tried)
            if other is not None:
                return None, other
        return await self._decide(recording, verdict, seen.status), None

    async def _decide(self, recording: Recording, verdict: Verdict, status: str) -> Recording:
        match verdict:
            case Verdict.PROVED:
                return await self.tools.store(recording, verified=True)
            case Verdict.UNPROVED if self._enough():
                return await self.tools.store(recording, verified=False)
            case Verdict.UNPROVED:
                raise NotProved(status)
            case Verdict.VERIFYING:
                raise StillVerifying
            case Verdict.DAMAGED:
                return await self._again(recording, f"the cloud stored other bytes ({status})")
            case Verdict.WAITING:
                return await self._again(recording, f"the cloud does not have the bytes ({status})")
            case Verdict.FAILED:
                raise FailedInCloud
            case _ as never:
                assert_never(never)

    async def _again(self, recording: Recording, why: str) -> Recording:
        """Back to a full upload, a bounded number of times; its timeline counts them, across restarts."""
        rounds = await self._rounds_before(recording) + 1
        if rounds > INTEGRITY_ROUNDS:
            raise Parked(Why.INTEGRITY, f"After {INTEGRITY_ROUNDS} more uploads still: {why}. Report this, then retry.")
        log.warning("upload_repeated", reason=why, round=rounds)
        return await self.tools.spool.back_to(recording.id, Custody.CREATED, reason=why)

    async def _rounds_before(self, recording: Recording) -> int:
        """Full uploads so far that the cloud did not have as sent, since a human last asked for another try."""
        rounds = 0
        for line in await self.tools.spool.timeline(recording.id):
            if line.happened == Happened.RETRIED:
                rounds = 0
            rounds += line.happened == Happened.MOVED_BACK and line.detail.get("to") == Custody.CREATED
        return rounds

    def _enough(self) -> bool:
        contract = self.tools.api.contracts.current
        return is_enough(contract, accept_unverified=self.tools.settings.accept_unverified)
