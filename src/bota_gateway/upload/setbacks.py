"""What ends an attempt short of its goal: waiting, needing a human, or being verified."""

from enum import StrEnum

from bota_gateway.backoff import Backoff
from bota_gateway.errors import CloudError, CloudRefusedError
from bota_gateway.upload.const import Timing


class Why(StrEnum):
    """Codes of reasons that upload gives, beside those of the cloud's own errors (docs/errors.md)."""

    CREATE_UNKNOWN = "upload_create_unknown"
    """The answer to create was lost; it is looked for before it is tried again.

    If it is parked (cloud.ambiguous_create = park): look for it in the dashboard, then retry. Else it settles itself.
    """
    SAME_CAPTURE = "upload_same_capture"
    """It is a recording that was captured before: its recorder has listed it anew, with another start say.

    Nothing: it becomes stored with the other one; bota-gateway recordings shows both under one file id.
    """
    CREATE_CONFLICT = "upload_create_conflict"
    """Create is answered 409, or with another recording, and none of this capture is to be found.

    Look for the recording in the dashboard, then retry.
    """
    CREATE_REFUSED = "upload_create_refused"
    """Create is refused for what it says.

    Read what the cloud said (bota-gateway timeline), correct it, then retry.
    """
    WRONG_OWNER = "upload_wrong_owner"
    """The cloud filed the recording under another end user than it was created for. No audio was sent there.

    Delete that empty recording in the dashboard, see whose the recorder is, then retry.
    """
    OWNER_GONE = "upload_owner_gone"
    """The end user who wore the recorder is not in the project any more.

    Bind the recorder to its present user, then retry.
    """
    URL_REFUSED = "upload_url_refused"
    """An upload URL is refused although the recording waits for its bytes.

    Look at the recording in the dashboard, then retry.
    """
    UNSUPPORTED_AUDIO = "upload_unsupported_audio"
    """The first bytes are none of a type that the API takes.

    Set cloud.content_type if you know the type, then retry. bota-gateway export saves the file.
    """
    P10_NEEDS_RELAY = "upload_p10_needs_relay"
    """Ciphertext that only the relay can take; at a presigned URL it would be stored undecryptable.

    This version has no relay: pull it with the vendor's app. It stays on the recorder.
    """
    GONE = "upload_recording_gone"
    """The cloud does not know the recording it gave us an id for.

    If it was deleted in the cloud on purpose, leave it. A retry uploads it as a new recording.
    """
    INTEGRITY = "upload_integrity_failure"
    """What the cloud stored differs from what was sent, again and again.

    Something between here and the cloud alters data, a proxy say. Remove it, then retry.
    """
    NOT_PROVED = "upload_not_proved"
    """The cloud took it but proves no digest, and unproved ones are not accepted.

    Set cloud.accept_unverified if your API generation proves nothing, then retry.
    """
    FAILED = "upload_failed_in_cloud"
    """The cloud says failed, and no digest is proved.

    Look at it in the dashboard, then retry.
    """
    VERIFYING = "upload_verifying"
    """The cloud is comparing the digest.

    Nothing: it takes seconds.
    """
    BIT_ROT = "spool_bit_rot"
    """The bytes in the spool are not those that were captured.

    Check the disk. A retry pulls it again if the recorder still has it; bota-gateway export saves what is here.
    """
    UNRESOLVED = "recorder_unresolved"
    """The cloud has not been asked yet whose the recorder is.

    Check the hub's network: bota-gateway status says whether the cloud answers.
    """
    UNBOUND = "recorder_unbound"
    """The recorder belongs to nobody.

    Bind it in the dashboard, then: bota-gateway retry --reason recorder_unbound.
    """
    NOT_IN_PROJECT = "recorder_not_in_project"
    """The recorder is not in this key's project.

    Register it again, or use the right project's key, then retry.
    """
    REBOUND = "recorder_rebound"
    """The recorder belongs to somebody else since the capture.

    If the same person wears it, then retry. If not, bota-gateway export saves the file: the cloud gives it to nobody
    else.
    """
    INTERNAL = "upload_internal_error"
    """A fault of the gateway.

    Report it with the traceback in the log.
    """


class Setback(Exception):  # noqa: N818 - not an error: an expected end of an attempt
    """An attempt ends here."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Postponed(Setback):
    """It is tried again, by itself: after ``after_s`` if given, else by ``backoff``, not before ``at_least_s``."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        backoff: Backoff,
        after_s: float | None = None,
        at_least_s: float | None = None,
        counts: bool = True,
    ) -> None:
        super().__init__(code, detail)
        self.backoff = backoff
        self.after_s = after_s
        self.at_least_s = at_least_s or 0.0
        """What a server asks for may be no wait at all, which must not make a refused call one of every second."""
        self.counts = counts
        """Whether it is the recording's own failure, and not the cloud's as a whole."""


class Parked(Setback):
    """Only a human can help; the detail says how."""


class NotProved(Parked):
    """The cloud has it as far as it says, and that is not enough for these settings."""

    def __init__(self, status: str) -> None:
        super().__init__(
            Why.NOT_PROVED,
            f"The cloud says {status} and proves no digest. Allow that with cloud.accept_unverified and the right "
            "cloud.profile, then retry; the recorder keeps its copy meanwhile.",
        )


class FailedInCloud(Parked):
    """The cloud failed with it, unproved."""

    def __init__(self) -> None:
        super().__init__(Why.FAILED, "The cloud says failed and proves no digest. Look at it in the dashboard.")


class Gone(Setback):
    """The cloud does not know the recording it gave us an id for."""

    def __init__(self, cloud_id: str | None) -> None:
        super().__init__(
            Why.GONE,
            f"The cloud does not know {cloud_id}: deleted there, or the key is another project's. Check the key; "
            "a retry uploads it as a new recording.",
        )


class Rotten(Setback):
    """The bytes in the spool are not those that were captured."""

    def __init__(self, what: str) -> None:
        super().__init__(
            Why.BIT_ROT,
            f"{what} Check the disk. It may still be worth an export; a retry deletes it here and pulls it again, if "
            "the recorder still has it.",
        )


class StillVerifying(Setback):
    """Completion was accepted, the proof is under way."""

    def __init__(self) -> None:
        super().__init__(Why.VERIFYING, "the cloud is comparing the digest of what it stored")


def outcome_unknown(error: CloudError) -> bool:
    """Whether a write may have been done all the same: no answer, an unreadable one, or a fault on its way."""
    return not isinstance(error, CloudRefusedError) or error.status >= 500 or error.status == 408


def setback_of(error: CloudError, timing: Timing) -> Postponed:
    """The wait for a failed call that the step itself has no better answer to."""
    if isinstance(error, CloudRefusedError) and error.status < 500:
        code, words, named = error.error_code, error.message, error.retry_after_s
        if error.status in {401, 429}:  # the whole cloud pauses for these
            return Postponed(code, words, backoff=timing.refused, after_s=named, counts=False)
        return Postponed(code, words, backoff=timing.refused, at_least_s=named)
    return Postponed(error.error_code, error.message, backoff=timing.network)
