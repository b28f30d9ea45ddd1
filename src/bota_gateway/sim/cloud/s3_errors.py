"""What S3 says when it refuses, in AWS's words and XML."""

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape


class S3Error(Exception):
    """A refusal: HTTP status, AWS error code, message, and the elements that AWS adds in this case."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})

    def xml(self, *, request_id: str) -> bytes:
        """The body as AWS renders it."""
        parts = {"Code": self.code, "Message": self.message, **self.details, "RequestId": request_id, "HostId": "sim"}
        inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


REFUSALS: Final[Mapping[str, tuple[int, str, str]]] = {
    "expired": (403, "AccessDenied", "Request has expired"),
    "not_yet_valid": (403, "AccessDenied", "Request is not yet valid"),
    "anonymous": (403, "AccessDenied", "Access Denied"),
    "denied": (403, "AccessDenied", "Access Denied"),
    "signature": (
        403,
        "SignatureDoesNotMatch",
        (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        ),
    ),
    "unsigned_headers": (403, "AccessDenied", "There were headers present in the request which were not signed"),
    "two_mechanisms": (
        400,
        "InvalidArgument",
        (
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified"
        ),
    ),
    "access_key": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
    "expired_token": (400, "ExpiredToken", "The provided token has expired."),
    "no_length": (411, "MissingContentLength", "You must provide the Content-Length HTTP header."),
    "too_large": (400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"),
    "incomplete": (
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    ),
    "bad_digest": (400, "BadDigest", "The Content-MD5 you specified did not match what we received."),
    "bad_checksum": (400, "BadDigest", "The SHA256 you specified did not match the calculated checksum."),
    "invalid_digest": (400, "InvalidDigest", "The Content-MD5 you specified is not valid."),
    "timeout": (
        400,
        "RequestTimeout",
        (
            "Your socket connection to the server was not read from or written to within the timeout period. "
            "Idle connections will be closed."
        ),
    ),
    "precondition": (412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"),
    "no_bucket": (404, "NoSuchBucket", "The specified bucket does not exist"),
    "no_key": (404, "NoSuchKey", "The specified key does not exist."),
    "method": (405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal": (500, "InternalError", "We encountered an internal error. Please try again."),
}
"""Every refusal by the name a fault commands it with."""


def refusal(name: str, message: str | None = None, **details: str) -> S3Error:
    """A refusal of the table, with the details of this case."""
    status, code, known_message = REFUSALS[name]
    return S3Error(status, code, message or known_message, details)
