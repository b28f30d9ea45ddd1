"""Captured → created: exactly one recording in the cloud for one capture.

Source: docs/cloud-api.md, "Lost answers".
"""

from dataclasses import dataclass, field

import structlog

from bota_gateway.cloud import NEVER_SENT, CloudRecording, Contract
from bota_gateway.errors import CloudError, CloudRefusedError
from bota_gateway.model import Binding, Custody, Membership, Recording
from bota_gateway.spool import Happened
from bota_gateway.upload.const import CONFLICTS
from bota_gateway.upload.describe import CAPTURE_KEY, capture_key, idempotency_key, new_recording
from bota_gateway.upload.finding import Finding
from bota_gateway.upload.resolve import binding_of
from bota_gateway.upload.setbacks import Parked, Postponed, Why, outcome_unknown
from bota_gateway.upload.tools import Tools

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Creating:
    """The step."""

    tools: Tools
    _finding: Finding = field(init=False)
    _under_way: set[str] = field(default_factory=set)
    """Capture keys: of rows that are one capture, one at a time."""

    def __post_init__(self) -> None:
        self._finding = Finding(self.tools)

    async def run(self, recording: Recording) -> Recording:
        """Create the recording, or find the one that an earlier try made; gives back the row, created or further on."""
        if recording.profile == "p10":
            raise Parked(Why.P10_NEEDS_RELAY, "Upload it through Bota's relay; this gateway has none. It stays here.")
        key = capture_key(recording)
        same = await self.tools.spool.same_capture(recording)
        if same is not None or key in self._under_way:
            return await self._join(recording, same)
        self._under_way.add(key)
        try:
            return await self._alone(recording)
        finally:
            self._under_way.discard(key)

    async def _join(self, recording: Recording, same: Recording | None) -> Recording:
        """One capture is one recording in the cloud, under however many starts or takes its recorder listed it."""
        if same is None or same.stored_at is None or same.cloud_id is None:
            other = f", listed as {same.key} before, which is {same.state}" if same else ""
            detail = f"The same bytes are on their way already{other}; it goes with them."
            raise Postponed(Why.SAME_CAPTURE, detail, backoff=self.tools.timing.unresolved)
        log.info("recording_adopted", cloud_id=same.cloud_id)
        row = await self.tools.spool.created(recording.id, same.cloud_id)
        return await self.tools.store(row, verified=bool(same.verified))

    async def _alone(self, recording: Recording) -> Recording:
        await self.tools.content_type(recording)
        asked_before = recording.create_intended_at is not None
        if asked_before:
            if found := await self._finding.after_lost_answer(recording):
                return await self._adopt(recording, found)
            await self._may_repeat(recording)
        recording = await self._check_owner(recording)
        wary = recording.look_first or self.tools.settings.look_before_create
        if wary and not asked_before and (found := await self._finding.before_create(recording)):
            return await self._adopt(recording, found)
        return await self._create(recording, asked_before=asked_before)

    # -- whose it is -------------------------------------------------------------------------------------------

    async def _check_owner(self, recording: Recording) -> Recording:
        """A recording belongs to whoever wore the recorder when it was captured; nobody else gets it by itself.

        A retry by a human settles what only a human can know: that the present user of a recorder which belonged to
        nobody is right, or that the same user's new binding is.
        """
        before = recording.binding
        if before.membership is Membership.UNRESOLVED:
            backoff = self.tools.timing.unresolved
            raise Postponed(Why.UNRESOLVED, "The cloud has not said yet whose the recorder is.", backoff=backoff)
        if before.membership is Membership.STRANGER or before.device_id is None:
            raise Parked(Why.NOT_IN_PROJECT, "The recorder is not in the project.")
        now = await self._present_binding(recording, before.device_id)
        if now.membership is not Membership.BOUND:
            raise Parked(Why.UNBOUND, "The recorder belongs to nobody.")
        if before.membership is Membership.UNBOUND:
            return await self._settled_owner(recording)
        if now.end_user_id == before.end_user_id:
            if _generation_changed(before, now) and not await self.tools.human_said(recording, Why.REBOUND):
                raise Parked(Why.REBOUND, f"Bound anew since, again to {now.end_user_id}. If that is right, retry.")
            return recording
        raise Parked(
            Why.REBOUND,
            f"Captured for {before.end_user_id}, but the recorder is {now.end_user_id}'s now. Bind it to the former "
            "again and retry, or export the recording.",
        )

    async def _settled_owner(self, recording: Recording) -> Recording:
        """Captured for nobody; a human's retry gives it to the recorder's present user."""
        detail = "It was captured while the recorder belonged to nobody. If it is its present user's, retry."
        if not await self.tools.human_said(recording, Why.UNBOUND):
            raise Parked(Why.UNBOUND, detail)
        # The retry came before the present binding was known here; done again, it takes it over.
        await self.tools.spool.park(recording.id, code=Why.UNBOUND, detail=detail)
        await self.tools.spool.retry(recording.id)
        return await self.tools.spool.recording(recording.id)

    async def _present_binding(self, recording: Recording, device_id: str) -> Binding:
        serial = recording.key.serial
        try:
            device = await self.tools.api.device(device_id)
            present = binding_of(device) if device.serial == serial and not device.deleted else None
        except CloudRefusedError as error:
            if error.status != 404:
                raise
            present = None
        if (await self.tools.spool.recorder(serial)).binding != (present or Binding(Membership.UNRESOLVED)):
            await self.tools.spool.bind(serial, present or Binding(Membership.UNRESOLVED))
        if present is None:
            raise Parked(Why.NOT_IN_PROJECT, f"{device_id} is not this recorder any more.")
        return present

    # -- the call ----------------------------------------------------------------------------------------------

    async def _create(self, recording: Recording, *, asked_before: bool) -> Recording:
        tools = self.tools
        new = new_recording(recording, hub_id=tools.hub_id, send_device_id=tools.settings.send_device_id)
        tried: list[Contract] = []
        contract: Contract | None = tools.api.contracts.current
        while contract is not None:
            tried.append(contract)
            body = contract.create_body(new)
            key = idempotency_key(recording, body, await self._keys_given_up(recording))
            recording = await tools.spool.intend_create(recording.id, idempotency_key=key, at=tools.api.clock.now())
            try:
                made = await tools.api.create(body, idempotency_key=key)
            except CloudError as error:
                recording, contract = await self._refused(recording, error, tried, asked_before=asked_before)
                continue
            tools.api.contracts.accepted(contract)
            await self._require_ours(recording, made)
            if asked_before:
                made = await self._oldest(recording, made)
            log.info("recording_created", cloud_id=made.id)
            return await tools.spool.created(recording.id, made.id)
        raise AssertionError("a refused create ends in a setback or another contract")

    async def _refused(
        self, recording: Recording, error: CloudError, tried: list[Contract], *, asked_before: bool
    ) -> tuple[Recording, Contract]:
        """Decide after a failed create; gives back the contract that is worth another try."""
        timing = self.tools.timing
        if outcome_unknown(error) and error.error_code not in NEVER_SENT:
            detail = f"Whether it was created is not known ({error.message}); it is looked for first."
            raise Postponed(Why.CREATE_UNKNOWN, detail, backoff=timing.lost_create) from error
        refused = error if isinstance(error, CloudRefusedError) else None
        if refused is not None and refused.status == 409:
            # Perhaps the key is in use for another body, perhaps it exists: the intent stands, and it is looked for.
            if recording.attempts >= CONFLICTS:
                raise Parked(
                    Why.CREATE_CONFLICT, "Look for it in the dashboard by its serial and start time."
                ) from error
            raise Postponed(Why.CREATE_CONFLICT, error.message, backoff=timing.lost_create) from error
        if not asked_before:
            # Nothing was made, so nothing needs to be looked for; a new key, as servers may replay a refusal.
            recording = await self.tools.spool.back_to(recording.id, Custody.CAPTURED, reason=error.error_code)
        if refused is not None and refused.status in {400, 422}:
            other = self.tools.api.contracts.alternative(refused.fields, tried)
            if other is not None:
                return recording, other
            named = f" (it names {', '.join(sorted(refused.fields))})" if refused.fields else ""
            raise Parked(Why.CREATE_REFUSED, f"{error.message}{named}. Compare cloud.profile with the API.") from error
        if refused is not None and refused.status == 404:
            raise Parked(Why.OWNER_GONE, f"The cloud does not know {recording.binding.end_user_id}.") from error
        raise error

    async def _require_ours(self, recording: Recording, made: CloudRecording) -> None:
        """Nothing is sent to a recording that is somebody else's, or another capture's, whatever answered create.

        Raises:
            Parked: It was made, for another user: repeating that would make more of them.
            Postponed: It is another recording; ours is looked for.
        """
        owner = recording.binding.end_user_id
        if made.end_user_id not in {None, owner}:
            raise Parked(
                Why.WRONG_OWNER, f"The cloud filed it as {made.id} under {made.end_user_id}, and it is {owner}'s."
            )
        key = made.metadata.get(CAPTURE_KEY)
        if key == capture_key(recording):
            return
        holder = None if key is not None else await self.tools.spool.holder_of(made.id)
        if key is None and (holder is None or capture_key(holder) == capture_key(recording)):
            return
        detail = f"The answer to create speaks of {made.id}, which is another recording."
        if recording.attempts >= CONFLICTS:
            raise Parked(Why.CREATE_CONFLICT, f"{detail} Look for it in the dashboard by its serial and start time.")
        raise Postponed(Why.CREATE_CONFLICT, detail, backoff=self.tools.timing.lost_create)

    async def _keys_given_up(self, recording: Recording) -> int:
        """How often an intent was void; constant from one intent to its end."""
        entries = await self.tools.spool.timeline(recording.id)
        return sum(
            line.happened == Happened.MOVED_BACK and line.detail.get("to") == Custody.CAPTURED for line in entries
        )

    # -- after a lost answer -----------------------------------------------------------------------------------

    async def _may_repeat(self, recording: Recording) -> None:
        """Whether a create whose answer was lost, and which is not to be found, may be tried again now."""
        tools = self.tools
        if tools.settings.ambiguous_create == "park" and not await tools.human_said(recording, Why.CREATE_UNKNOWN):
            raise Parked(
                Why.CREATE_UNKNOWN, "An answer to create was lost. See that it is not in the cloud, then retry."
            )
        age = tools.api.clock.now() - await self._last_intended_at(recording)
        wait = tools.timing.repeat_create_s - age
        if 0 < wait <= tools.timing.repeat_create_s:  # beyond: the time of the intent was wrong, and the wait is over
            detail = "An answer to create was lost, and it is not to be found yet."
            look_again_s = min(wait, tools.timing.lost_create.step(recording.attempts))
            raise Postponed(Why.CREATE_UNKNOWN, detail, backoff=tools.timing.lost_create, after_s=look_again_s)

    async def _last_intended_at(self, recording: Recording) -> float:
        """When the last create was about to be sent, by the server's clock: it may be under way still."""
        entries = await self.tools.spool.timeline(recording.id)
        told = [line.detail.get("intended_at") for line in entries if line.happened == Happened.CREATE_INTENDED]
        last = told[-1] if told else None
        return last if isinstance(last, int | float) else recording.create_intended_at or 0.0

    async def _adopt(self, recording: Recording, found: list[CloudRecording]) -> Recording:
        """Go on with the oldest; the others are for a human to delete."""
        oldest, *others = found
        log.info("recording_adopted", cloud_id=oldest.id)
        if others:
            log.warning("cloud_duplicates_found", kept=oldest.id, others=[seen.id for seen in others])
        row = await self.tools.spool.created(recording.id, oldest.id)
        if recording.sha256 is not None and oldest.proves(recording.sha256):
            return await self.tools.store(row, verified=True)
        return row

    async def _oldest(self, recording: Recording, made: CloudRecording) -> CloudRecording:
        """After a repeated create: the first one may have shown up late, and then it counts."""
        try:
            found = await self._finding.after_lost_answer(recording)
        except CloudError as error:
            log.info("recording_not_looked_for", reason=error.message)
            return made
        others = [seen.id for seen in found if seen.id != made.id]
        if not others:
            return made
        log.warning("cloud_duplicates_found", kept=found[0].id, others=[seen.id for seen in found[1:]])
        return found[0]


def _generation_changed(before: Binding, now: Binding) -> bool:
    generations = (before.binding_generation, now.binding_generation)
    return None not in generations and generations[0] != generations[1]
