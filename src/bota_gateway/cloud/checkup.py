"""How the cloud looks from here: reached, by whose key, which generation. Reads only, three calls at most."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from bota_gateway.cloud.answers import parse_recording
from bota_gateway.cloud.api import BotaApi, Glance
from bota_gateway.cloud.budget import BudgetLimits, Call, RateHeaders
from bota_gateway.cloud.const import MAX_S3_ANSWER_BYTES
from bota_gateway.cloud.contracts import generation_of
from bota_gateway.cloud.hygiene import UrlRefusedError, checked_target
from bota_gateway.cloud.transport import Answer, exchange, make_client, read_capped, system_trust
from bota_gateway.config import CloudSettings, Profile
from bota_gateway.errors import CloudError, CloudProtocolError, CloudRefusedError
from bota_gateway.model import WallClock

CALL_S: Final = 15.0
"""One call of a check-up: somebody stands there and waits. The gateway itself is more patient."""

DOCUMENTED_S3_HOST: Final = "bota-uploads.s3.amazonaws.com"
"""Where the published examples of upload URLs lead; the real host only an upload shows."""

_ENOUGH: Final = BudgetLimits(requests_per_minute=60, upload_urls_per_minute=1)
"""The calls of a check-up need not wait for one another."""


class Health(StrEnum):
    """What answers at the API's address, asked without a key."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """The API says so of itself, or answers with a server error."""
    SILENT = "silent"
    """Something answers in JSON, and has no such page: an older API, or a proxy before it."""
    STRANGER = "stranger"
    """What answers is not the API: a web page, a redirect. A captive portal does that."""


@dataclass(slots=True)
class Checkup:
    """What was found."""

    health: Health | CloudError
    took_s: float
    """Of the first answer, with name look-up and TLS."""
    devices: Glance | CloudError | None = None
    recordings: Glance | CloudError | None = None
    """None where it was not asked: without a key, or after the first call was in vain."""
    clock_offset_s: float | None = None
    """Server's clock minus the hub's; None when no answer told the time."""
    profile: Profile | None = None
    """None when nothing shows it: there is no recording yet."""
    lacks: list[str] = field(default_factory=list)
    """Scopes that the key was refused for."""

    @property
    def refusal(self) -> CloudError | None:
        """Why the key can't be judged, or is of no use at all; a missing scope is neither."""
        failed = (one for one in (self.devices, self.recordings) if isinstance(one, CloudError))
        return next((one for one in failed if not _lacks_scope(one)), None)

    @property
    def rates(self) -> RateHeaders | None:
        """What the last answer said of the limits."""
        told = [one.rates for one in (self.devices, self.recordings) if isinstance(one, Glance)]
        return told[-1] if told else None


async def check_up(
    settings: CloudSettings, key: SecretStr | None, now: WallClock, *, call_s: float = CALL_S
) -> Checkup:
    """Ask whether the API is there, then by the key for the newest device and the newest recording. Never writes.

    Args:
        settings: The ``[cloud]`` section.
        key: None leaves it at what can be seen without one.
        now: The hub's clock.
        call_s: Time limit of each call.
    """
    began = asyncio.get_running_loop().time()
    health = await _health(settings.api_base, call_s)
    seen = Checkup(health, asyncio.get_running_loop().time() - began)
    if key is None or isinstance(health, CloudError):
        return seen  # after one silence nobody should wait for the next
    async with BotaApi(settings, key, now, limits=_ENOUGH, call_s=call_s) as api:
        seen.devices = await _glance(api, Call.INVENTORY, seen)
        # A key that is refused altogether is not shown twice.
        if not isinstance(seen.devices, CloudError) or _lacks_scope(seen.devices):
            seen.recordings = await _glance(api, Call.RECONCILE, seen)
        seen.clock_offset_s = api.clock.offset_s if api.clock.known else None
    return seen


def host_troubles(hosts: Sequence[str]) -> Iterator[str]:
    """What is odd about ``cloud.s3_hosts``, one sentence each; a list that can't be wrong has none."""
    for pattern in hosts:
        if "/" in pattern or pattern.startswith("*.") != ("*" in pattern) or pattern.count("*") > 1:
            yield f"{pattern} matches no host: write a host, host:port, or *. before one."
        elif pattern.startswith("*.") and "." not in pattern[2:]:
            yield f"{pattern} lets uploads go to anybody."


def allows(hosts: Sequence[str], host: str) -> bool:
    """Whether an upload URL with this host would be followed."""
    try:
        checked_target(f"https://{host}/", hosts)
    except UrlRefusedError:
        return False
    return True


async def _glance(api: BotaApi, call: Call, seen: Checkup) -> Glance | CloudError:
    try:
        if call is Call.INVENTORY:
            return await api.glance(call, "/devices")
        found = await api.glance(call, "/recordings")
        if found.row is not None:
            seen.profile = generation_of(parse_recording(found.row))
    except CloudError as error:
        if _lacks_scope(error):
            seen.lacks.append("devices:read" if call is Call.INVENTORY else "recordings:read")
        return error
    return found


def _lacks_scope(error: CloudError) -> bool:
    return isinstance(error, CloudRefusedError) and error.status == 403


async def _health(api_base: str, within_s: float) -> Health | CloudError:
    """``GET /health`` lies beside ``/v1`` and takes no key; generations before ``e`` may not have it."""
    parts = urlsplit(api_base)
    url = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/v1')}/health"
    client = make_client(system_trust(), connections=1)
    try:
        async with client, exchange("GET /health", within_s):
            response = await client.send(client.build_request("GET", url), stream=True)
            try:
                return _judge(await read_capped(response, MAX_S3_ANSWER_BYTES))
            finally:
                await response.aclose()
    except CloudProtocolError:
        return Health.STRANGER  # a page too long, or compressed
    except CloudError as error:
        return error


def _judge(answer: Answer) -> Health:
    if answer.status >= 500:
        return Health.UNHEALTHY
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        return Health.STRANGER
    if not isinstance(said, dict) or 300 <= answer.status < 400:
        return Health.STRANGER
    if answer.status != 200 or not isinstance(said.get("status"), str):
        return Health.SILENT
    return Health.HEALTHY if said["status"] == "healthy" else Health.UNHEALTHY
