"""Generations of the Bota API's contract, and which of them answers (docs/cloud-api.md, "Profiles").

Only what is *sent* differs by contract; answers are read leniently for all of them (answers.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from bota_gateway.cloud.answers import CloudRecording
from bota_gateway.config import Profile
from bota_gateway.model import FIRST_SET

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewRecording:
    """What is said of a capture when its recording is created; there is no way to change it later."""

    device_id: str | None
    end_user_id: str
    started_at: int
    """Unix seconds; 0 = the recorder did not know, and then no time is sent."""

    duration_s: int
    metadata: Mapping[str, str | int]

    @property
    def start_is_known(self) -> bool:
        """A recorder whose clock began at 0 when it was switched on knows as little as one that says 0."""
        return self.started_at >= FIRST_SET


@dataclass(frozen=True, slots=True)
class Contract:
    """Generation d1, and the base of the others."""

    name: Profile = Profile.D1
    proves_digest: bool = False
    """Whether completion takes our digest and answers with the proof that the stored bytes have it."""

    def create_body(self, new: NewRecording) -> dict[str, Any]:
        """Body of ``POST /recordings``."""
        times = {}
        if new.start_is_known:
            times = {"started_at": _iso(new.started_at), "ended_at": _iso(new.started_at + new.duration_s)}
        return _owners(new) | times | {"metadata": dict(new.metadata)}

    def upload_url_body(self, content_type: str, size_bytes: int) -> dict[str, Any]:
        """Body of ``POST /recordings/{id}/upload-url``."""
        return {"content_type": content_type, "file_size_bytes": size_bytes}

    def complete_body(self, sha256: str) -> dict[str, Any] | None:  # noqa: ARG002 - this generation takes none
        """Body of ``POST /recordings/{id}/upload-complete``."""
        return None


@dataclass(frozen=True, slots=True)
class ContractD2(Contract):
    """Generation d2: one recording may hold several files, so an upload URL is for a ``type``."""

    name: Profile = Profile.D2

    def upload_url_body(self, content_type: str, size_bytes: int) -> dict[str, Any]:
        """As d1, with the kind of file."""
        return {"type": "audio", "content_type": content_type, "file_size_bytes": size_bytes}


@dataclass(frozen=True, slots=True)
class ContractE(Contract):
    """Generation e, the newest seen live: other names for times, and a proof of the digest."""

    name: Profile = Profile.E
    proves_digest: bool = True

    def create_body(self, new: NewRecording) -> dict[str, Any]:
        """Body of ``POST /recordings``."""
        time = {"recorded_at": _iso(new.started_at)} if new.start_is_known else {}
        return _owners(new) | {"source": "device", "upload_method": "ble", "metadata": dict(new.metadata)} | time

    def complete_body(self, sha256: str) -> dict[str, Any] | None:
        """The digest alone: with the size, an exact repeat was once answered 409 ("Calls")."""
        return {"content_sha256": sha256}


D1: Final = Contract()
D2: Final = ContractD2()
E: Final = ContractE()
_BY_NAME: Final = {contract.name: contract for contract in (D1, D2, E)}

_OLD_SHAPE: Final = frozenset({"duration_ms", "started_at", "ended_at"})
_NEW_SHAPE: Final = frozenset({"recorded_at", "duration_seconds", "content_sha256"})


class ContractChoice:
    """The contract in use. With ``auto``: e until answers show an older one; remembered for the process.

    A refusal alone changes nothing: another contract is *tried* and is learned only when it is accepted.
    """

    def __init__(self, profile: Profile) -> None:
        self._auto = profile is Profile.AUTO
        self._settled = not self._auto
        self.current: Contract = E if self._auto else _BY_NAME[profile]

    def alternative(self, fields: Collection[str], tried: Collection[Contract]) -> Contract | None:
        """Another contract worth a try after a 400 or 422 that names these request fields; None if none is."""
        if self._settled or not fields:
            return None
        order = (D1, D2, E) if "type" in fields and D2 in tried else (D2, D1, E)
        return next((contract for contract in order if contract not in tried), None)

    def accepted(self, contract: Contract) -> None:
        """An alternative was accepted."""
        if contract is not self.current:
            self._learn(contract, "another contract was refused, this one accepted")

    def observe(self, recording: CloudRecording) -> None:
        """Learn from an answer: each generation has fields of its own, and only e proves digests."""
        shown = None if self._settled else generation_of(recording)
        if shown is None:
            return
        if recording.sha256_verified:
            self._settled = True
            self._learn(E, "the API proved a digest")
        else:
            self._learn(_BY_NAME[shown], "an answer has fields of this generation")

    def _learn(self, contract: Contract, why: str) -> None:
        if contract is self.current:
            return
        log.info("cloud_contract_learned", contract=contract.name.value, before=self.current.name.value, reason=why)
        self.current = contract


def generation_of(recording: CloudRecording) -> Profile | None:
    """The generation that an answer shows by its fields; None when it has none that differ."""
    if recording.sha256_verified or recording.shape & _NEW_SHAPE:
        return Profile.E
    if recording.shape & _OLD_SHAPE:
        return Profile.D2 if "media" in recording.shape else Profile.D1
    return None


def _owners(new: NewRecording) -> dict[str, Any]:
    device = {"device_id": new.device_id} if new.device_id is not None else {}
    return device | {"end_user_id": new.end_user_id}


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
