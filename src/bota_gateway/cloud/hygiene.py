"""What the gateway refuses to send anything to, or with: bases, hosts, keys (docs/cloud-api.md, "Client hygiene")."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from bota_gateway.errors import CloudProtocolError, ConfigError

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_URL_CHARS: Final = re.compile(r"[!-~]{1,8192}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_base(api_base: str) -> str:
    """The base of the API without a trailing slash.

    Raises:
        ConfigError: It is not HTTPS (HTTP only on loopback), does not end in /v1, or carries more than scheme, host,
            port and path.
    """
    try:
        parts = urlsplit(api_base.rstrip("/"))
        secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        plain = not ("@" in parts.netloc or parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        secure = plain = False
        parts = urlsplit("")
    if not secure:
        raise ConfigError(
            "cloud.api_base must be an https:// address (http:// only on loopback)", code="config_api_base"
        )
    if not plain or not parts.path.endswith("/v1"):
        raise ConfigError("cloud.api_base must end in /v1 and carry no user, query or fragment", code="config_api_base")
    return parts.geturl()


def checked_key(key: SecretStr) -> SecretStr:
    """The key without surrounding white space; its text appears in no error.

    Raises:
        ConfigError: It has characters that no key has.
    """
    text = key.get_secret_value().strip()
    if not _KEY.fullmatch(text):
        raise ConfigError(
            "cloud.api_key is empty or has characters that no key has", code="config_api_key", remedy="Copy it anew."
        )
    return SecretStr(text)


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
    if not _URL_CHARS.fullmatch(url) or parts.fragment or "@" in parts.netloc or not host:
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
