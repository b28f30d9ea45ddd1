"""Keeps secrets out of everything the gateway tells, wherever they slipped in."""

import re

REDACTED = "[redacted]"

_SECRETS = re.compile(
    r"""
      (?:sk|rk)_(?:live|test)_[A-Za-z0-9_-]+             # API keys
    | (?<![A-Za-z0-9])(?:dtok|up)_[A-Za-z0-9_-]{8,}      # device and upload tokens
    | (?i:bearer)\s+[A-Za-z0-9._~+/=-]+                  # Authorization headers
    | (?<=X-Amz-Signature=)[0-9a-fA-F]+                  # what makes a presigned URL a credential
    | (?<=X-Amz-Credential=)[^&\s"']+
    | (?<=X-Amz-Security-Token=)[^&\s"']+
    | (?<=[?&]Signature=)[^&\s"']+
    """,
    re.VERBOSE,
)

_QUERIES = re.compile(r"""(https?://[^\s"'<>?]+\?|(?i:X-Amz-[a-z-]+(?:=|%3D)))[^\s"'<>&]+(?:&[^\s"'<>]*)?""")


def redact(text: str) -> str:
    """The text without anything that works as a credential."""
    return _SECRETS.sub(REDACTED, text)


def without_queries(text: str) -> str:
    """The text with every URL cut at its query, so that of a presigned one, however quoted, nothing leads anywhere."""
    return _QUERIES.sub(rf"\1{REDACTED}", text)
