"""The cloud: the key, the API, what it lets the key do, where uploads may go, how often it may be asked."""

from collections.abc import AsyncGenerator
from typing import Final

from bota_gateway.cli.doctor.cases import Check, Finding, failure, not_checked, ok, warning
from bota_gateway.cli.doctor.facts import Facts
from bota_gateway.cloud.api import Glance
from bota_gateway.cloud.checkup import DOCUMENTED_S3_HOST, Health, allows, host_troubles
from bota_gateway.cloud.const import BURST_OF_MINUTE
from bota_gateway.config import CloudSettings, Profile
from bota_gateway.errors import CloudError, StatusError

SLOW_S: Final = 3.0
"""One answer. A hub on LTE takes two seconds for TLS; each upload needs three answers beside its bytes."""
NEARLY_SPENT: Final = 0.1
"""Part of the project's limit that is left."""
CALLS_S: Final = 60.0
"""Three calls of a check-up, one after the other, each with a limit of its own."""


class Key(Check):
    """The project's key: there, of the right shape, and readable by nobody else."""

    group = "Cloud"
    name = "key"
    RESTRICTED = ok("a restricted key, {data} data, from {where}")
    SECRET = ok("a secret key, {data} data, from {where}; a restricted one would do")
    UNUSABLE = failure("{message} [{code}]", "{remedy}")
    CLOSED = not_checked("{where} is closed to this user, as it should be", "sudo bota-gateway doctor")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Find it as the service does."""
        key = await facts.key()
        if key.error is not None:
            yield self.UNUSABLE.of(key.error)
        elif key.secret is None:
            yield self.CLOSED(where=key.where)
        else:
            kind, data = key.secret.get_secret_value().split("_")[:2]
            yield (self.RESTRICTED if kind == "rk" else self.SECRET)(data=data, where=key.where)


class Api(Check):
    """Whether the API is reached at ``cloud.api_base``, and is what answers there."""

    group = "Cloud"
    name = "api"
    limit_s = CALLS_S
    REACHED = ok("{base} answers in {took:duration}")
    SLOW = warning("{base} answers, in {took:duration}", "Uploads are slow. A better network, or nothing.")
    SILENT = failure("{message} [{code}]", "{remedy}")
    UNHEALTHY = failure("{base} says that it is in trouble", "Nothing to do: recordings wait here. It is tried again.")
    STRANGER = failure(
        "what answers at {base} is not the API: a login page of the network, or a proxy",
        "Log the hub in to that network, or use another; check cloud.api_base.",
    )

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask for its state of health, which takes no key."""
        seen = await facts.cloud()
        base = facts.usable.cloud.api_base
        if isinstance(seen.health, CloudError):
            yield self.SILENT.of(seen.health)
        elif seen.health is Health.UNHEALTHY:
            yield self.UNHEALTHY(base=base)
        elif seen.health is Health.STRANGER and (seen.devices is None or seen.refusal is not None):
            yield self.STRANGER(base=base)
        else:  # an older API has no such page; that it understood the key is proof enough
            yield (self.SLOW if seen.took_s > SLOW_S else self.REACHED)(base=base, took=seen.took_s)


class Scopes(Check):
    """What the key may do, as far as reading shows it: ``devices:read`` and ``recordings:read``. Nothing is written."""

    group = "Cloud"
    name = "scopes"
    limit_s = CALLS_S
    READS = ok("devices:read, recordings:read; recordings:write shows at the next upload")
    EVERYTHING = ok("a secret key may do everything")
    LACKS = failure(
        "the key lacks {lacks}", "Give it devices:read, recordings:read and recordings:write in the dashboard."
    )
    REFUSED = failure("{message} [{code}]", "{remedy}")
    FORBIDDEN = failure(
        "the gateway was refused: {message} [{code}]", "Give the key recordings:write in the dashboard."
    )
    UNCLEAR = not_checked("{message} [{code}]", "{remedy}")
    NO_KEY = not_checked("there is no key to try: see key")
    UNREACHED = not_checked("the API is not reached: see api")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Read the newest device and the newest recording; and hear what a running gateway met."""
        key = await facts.key()
        seen = await facts.cloud()
        if key.secret is None:
            yield self.NO_KEY()
        elif seen.devices is None:
            yield self.UNREACHED()
        elif seen.refusal is not None:
            yield (self.REFUSED if seen.refusal.error_code == "cloud_unauthorized" else self.UNCLEAR).of(seen.refusal)
        elif seen.lacks:
            yield self.LACKS(lacks=", ".join(seen.lacks))
        else:
            restricted = key.secret.get_secret_value().startswith("rk_")
            yield self.READS() if restricted else self.EVERYTHING()
        told = await facts.status()
        for pause in [] if isinstance(told, StatusError) else told["pauses"]:
            if pause["code"] == "cloud_forbidden":
                yield self.FORBIDDEN(**pause)


class Generation(Check):
    """Which generation of the API answers, against ``cloud.profile``."""

    group = "Cloud"
    name = "profile"
    limit_s = CALLS_S
    SPOKEN = ok("the API speaks {spoken}, and cloud.profile is {wanted}")
    OTHER = failure("the API speaks {spoken}, and cloud.profile is {wanted}", 'Set cloud.profile = "auto".')
    UNSHOWN = not_checked("no recording shows it yet; cloud.profile is {wanted}")
    UNREAD = not_checked("no recording could be read: see scopes; cloud.profile is {wanted}")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Judge by the fields of the newest recording."""
        seen, wanted = await facts.cloud(), facts.usable.cloud.profile
        spoken = seen.profile
        if not isinstance(seen.recordings, Glance):
            yield self.UNREAD(wanted=wanted)
        elif spoken is None:
            yield self.UNSHOWN(wanted=wanted)
        else:
            yield (self.SPOKEN if wanted in {Profile.AUTO, spoken} else self.OTHER)(spoken=spoken, wanted=wanted)


class S3(Check):
    """Whether uploads may go where the API sends them (``cloud.s3_hosts``). Only an upload shows the host."""

    group = "Cloud"
    name = "s3"
    ALLOWED = ok("uploads may go to {hosts}")
    REFUSED = failure("{detail}", "If that host is right, add it to cloud.s3_hosts, and restart the gateway.")
    NONE = failure(
        "cloud.s3_hosts is empty: no upload may go anywhere", 'Set it, or leave it out: ["*.amazonaws.com"].'
    )
    ODD = warning("cloud.s3_hosts: {what}", "Correct it; docs/settings.md has the form.")
    UNUSUAL = warning(
        "cloud.s3_hosts does not have {host}, where the published examples go", "Add it, or *.amazonaws.com."
    )

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Judge the list, and hear what a running gateway met."""
        settings = facts.usable.cloud
        told = await facts.recordings()
        met = [] if isinstance(told, StatusError) else told
        refused = {one["waiting_detail"] for one in met if one["waiting_for"] == "cloud_host_not_allowed"}
        odd = list(host_troubles(settings.s3_hosts))
        for detail in sorted(map(str, refused)):
            yield self.REFUSED(detail=detail)
        for what in odd:
            yield self.ODD(what=what)
        if not settings.s3_hosts:
            yield self.NONE()
        elif settings.api_base == CloudSettings().api_base and not allows(settings.s3_hosts, DOCUMENTED_S3_HOST):
            yield self.UNUSUAL(host=DOCUMENTED_S3_HOST)
        elif not refused and not odd:
            yield self.ALLOWED(hosts=", ".join(settings.s3_hosts))


class Budget(Check):
    """This hub's part of the project's limits: ``cloud.share`` of ``cloud.requests_per_minute`` and of upload URLs."""

    group = "Cloud"
    name = "budget"
    limit_s = CALLS_S
    SHARED = ok("{calls:.0f} calls and {urls:.0f} upload URLs a minute")
    GREEDY = warning(
        "with cloud.share = {share} a burst exceeds the project's limit", "Set cloud.share to 0.8 divided by your hubs."
    )
    STARVED = warning(
        "less than one upload URL a minute: {urls:.1f}", "Raise cloud.share: 0.8 divided by the number of your hubs."
    )
    ABOVE = warning(
        "the API allows {limit} calls a minute, cloud.requests_per_minute says {wanted}",
        "Set cloud.requests_per_minute = {limit}.",
    )
    SPENT = warning(
        "only {remaining} of the project's {limit} calls a minute are left",
        "Other programs use them: lower cloud.share.",
    )

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Reckon, and compare with what the API's answers say."""
        settings = facts.usable.cloud
        rates = (await facts.cloud()).rates
        share, urls = settings.share, settings.upload_urls_per_minute * settings.share
        found = []
        if share * (1 + BURST_OF_MINUTE) > 1:
            found.append(self.GREEDY(share=share))
        if urls < 1:
            found.append(self.STARVED(urls=urls))
        if rates is not None and rates.limit is not None:
            if rates.limit < settings.requests_per_minute:
                found.append(self.ABOVE(limit=rates.limit, wanted=settings.requests_per_minute))
            if rates.remaining is not None and rates.remaining < rates.limit * NEARLY_SPENT:
                found.append(self.SPENT(remaining=rates.remaining, limit=rates.limit))
        for finding in found or [self.SHARED(calls=settings.requests_per_minute * share, urls=urls)]:
            yield finding
