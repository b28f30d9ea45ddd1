"""What a recording read from the cloud means for our copy of it (docs/cloud-api.md, "What counts as stored")."""

from enum import Enum, auto

from bota_gateway.cloud import CloudRecording, Contract
from bota_gateway.model import Recording


class Verdict(Enum):
    """Where the cloud is with our bytes."""

    PROVED = auto()
    """It verified exactly our digest, whatever became of it afterwards."""
    UNPROVED = auto()
    """It has audio of the right size, as far as it says one, and says nothing of a digest."""
    VERIFYING = auto()
    """It has our digest, and has not verified it yet."""
    DAMAGED = auto()
    """It has other bytes than ours."""
    WAITING = auto()
    """It waits for bytes, or for completion."""
    FAILED = auto()
    """It failed with them, unproved."""


def judge(recording: Recording, seen: CloudRecording) -> Verdict:
    """Decide by state, never by an error's text."""
    if seen.status == "integrity_failure":
        return Verdict.DAMAGED
    finished = seen.has_audio or seen.status == "failed"
    if finished and recording.sha256 is not None and seen.proves(recording.sha256):
        return Verdict.PROVED
    if seen.has_audio and seen.content_sha256 is not None:
        return Verdict.VERIFYING if seen.content_sha256 == recording.sha256 else Verdict.DAMAGED
    if seen.has_audio:
        return Verdict.UNPROVED if seen.size_bytes in {None, recording.size_bytes} else Verdict.DAMAGED
    return Verdict.FAILED if seen.status == "failed" else Verdict.WAITING


def is_enough(contract: Contract, *, accept_unverified: bool) -> bool:
    """Whether audio without a proof counts as stored: only if the API has none to give, and the operator agrees."""
    return accept_unverified and not contract.proves_digest
