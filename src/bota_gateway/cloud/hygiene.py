"""What the gateway refuses to send anything to: upload URLs and identifiers out of answers.

The API's base and the key are the operator's, and are checked where they are read (config.py).
Source: docs/cloud-api.md, "Hygiene".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from bota_gateway.config import is_loopback
from bota_gateway.errors import CloudProtocolError

NO_CREDENTIAL: Final = r"(?!(?i:sk|rk|dtok|up)_)"
"""Begins the pattern of a word that is written down or shown: keys and tokens, which answers may echo, are none."""
_ID: Final = re.compile(NO_CREDENTIAL + r"[A-Za-z0-9_-]{1,128}")
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:.]+", re.ASCII)
"""A name that DNS can be asked for, or an address; nothing that a resolver would choke on."""
_URL_CHARS: Final = re.compile(r"[!-~]{1,8192}")


def checked_id(value: str) -> str:
    """An identifier from an answer or the configuration, safe to stand in a path.

    Raises:
        CloudProtocolError: It is none.
    """
    if not _ID.fullmatch(value):
        raise CloudProtocolError("an identifier has characters that no identifier has", code="cloud_bad_answer")
    return value


@dataclass(frozen=True, slots=True)
class Target:
    """Where a PUT goes. Its repr hides the URL: the query is a credential."""

    origin: str
    """scheme://host[:port]"""
    host: str
    raw: bytes
    """Path and query exactly as signed; any re-encoding would void the signature."""

    def __repr__(self) -> str:
        return f"<Target {self.host}>"


class UrlRefusedError(ValueError):
    """An upload URL that nothing is sent to; the text says why without showing it."""


def checked_target(url: str, hosts: Iterable[str]) -> Target:
    """Take an upload URL apart without changing a byte of it.

    Raises:
        UrlRefusedError: It is no URL, not HTTPS (HTTP only on loopback), or its host is not allowed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", None if (parts.scheme, parts.port) == ("https", 443) else parts.port
    except ValueError as error:
        raise UrlRefusedError("the upload URL can't be read") from error
    if not _URL_CHARS.fullmatch(url) or parts.fragment or "@" in parts.netloc or not _HOST.fullmatch(host):
        raise UrlRefusedError("the upload URL has parts that no presigned URL has")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise UrlRefusedError("the upload URL is not https")
    if not any(_allows(pattern.lower(), host, port) for pattern in hosts):
        raise UrlRefusedError(f"the upload URL's host {host} is not among cloud.s3_hosts")
    return Target(f"{parts.scheme}://{parts.netloc}", parts.netloc, _raw_target(url, parts))


def _allows(pattern: str, host: str, port: int | None) -> bool:
    """A pattern is a host, a host:port, or one of these with a leading ``*.`` for any subdomain."""
    name, colon, wanted_port = pattern.rpartition(":")
    if colon and not pattern.endswith("]"):
        if str(port) != wanted_port:
            return False
    elif port is not None:
        return False
    else:
        name = pattern
    name = name.strip("[]")
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _raw_target(url: str, parts: SplitResult) -> bytes:
    after_scheme = url[url.index("://") + 3 :]
    target = after_scheme[len(parts.netloc) :]
    return (target if target.startswith("/") else "/" + target).encode("ascii")
