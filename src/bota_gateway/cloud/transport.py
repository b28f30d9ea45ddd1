"""One HTTP exchange: what is sent along, how long it may take, how much is read, and what failures are called."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Final

import httpx

from bota_gateway.cloud.const import CONNECT_S, STALL_S
from bota_gateway.errors import CloudProtocolError, CloudUnreachableError
from bota_gateway.pulse import back_within

USER_AGENT: Final = f"bota-gateway/{version('bota-gateway')}"

NEVER_SENT: Final = frozenset({"cloud_no_connection", "cloud_tls_failed"})
"""Codes of failures before a connection stood: the request never left, so it can't have had an effect."""

# httpx logs each request line at INFO, presigned query and all; httpcore logs answers' headers at DEBUG.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of an answer. Its repr hides the body: it may hold signed URLs."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def make_client(trust: ssl.SSLContext, *, connections: int) -> httpx.AsyncClient:
    """A client that keeps no cookies, follows no redirects, asks for no compression and reads no environment.

    ``trust_env`` is off because a proxy variable meant for something else must not see keys and audio; HTTP/2 is off
    because it costs httpx a quarter of its speed and S3 speaks HTTP/1.1.
    """
    client = httpx.AsyncClient(
        verify=trust,
        http2=False,
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(STALL_S, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return client


def system_trust() -> ssl.SSLContext:
    """The system's certificate authorities: they are updated over the years a hub runs, a bundled list is not.

    A bare system that has none gets httpx's bundled list.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        return httpx.create_ssl_context(trust_env=False)
    return ssl.create_default_context()


def _refused_certificate(error: BaseException | None) -> str | None:
    """What is wrong with TLS, if that is why no connection came about; None if it is not."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the server's certificate is refused: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {error.reason}"
        error = error.__cause__ or error.__context__
    return None


@asynccontextmanager
async def exchange(what: str, within_s: float) -> AsyncIterator[None]:
    """Run an exchange with a time limit on the whole of it; every failure of the network becomes one error.

    The text of httpx errors is left out, except where no connection came about: it can quote headers and URLs.

    Raises:
        CloudUnreachableError: No answer came; whether the request had an effect is unknown.
    """
    back_within(within_s)
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise CloudUnreachableError(f"{what}: no answer within {within_s:.0f} s", code="cloud_timeout") from None
    except httpx.ConnectError as error:
        refused = _refused_certificate(error)
        if refused is not None:
            raise CloudUnreachableError(
                f"{what}: no connection, because {refused}",
                code="cloud_tls_failed",
                remedy="Compare the hub's clock with the time (timedatectl): a wrong one takes good certificates for "
                "bad ones, and comes right with the network's time. If it is right, something on the way breaks TLS.",
            ) from None
        raise CloudUnreachableError(f"{what}: no connection ({error})", code="cloud_no_connection") from None
    except httpx.TimeoutException as error:
        raise CloudUnreachableError(f"{what}: {type(error).__name__}", code="cloud_timeout") from None
    except httpx.HTTPError as error:
        raise CloudUnreachableError(f"{what}: {type(error).__name__}", code="cloud_connection_lost") from None


async def read_capped(response: httpx.Response, cap: int) -> Answer:
    """Read an answer, as sent, up to a size.

    Raises:
        CloudProtocolError: It is longer, or compressed although that was not asked for.
    """
    if response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise CloudProtocolError("the answer is compressed, unasked", code="cloud_bad_answer")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > cap:
            raise CloudProtocolError(f"the answer is longer than {cap} bytes", code="cloud_answer_too_large")
    return Answer(response.status_code, response.headers, bytes(body))
