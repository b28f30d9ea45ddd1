"""A client of the odd server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from pydantic import SecretStr

from bota_gateway.cloud import BotaApi, BudgetLimits
from bota_gateway.config import CloudSettings
from support.odd_server import OddServer

KEY = "sk_test_verysecret0123456789"
FAST = BudgetLimits(requests_per_minute=60_000, upload_urls_per_minute=60_000)
DEVICE = {"id": "dev_1", "serial_number": "BP1", "status": "bound", "end_user_id": "eu_1", "binding_generation": 3}
RECORDING = {"id": "rec_1", "status": "pending", "metadata": {}}
HUB_TIME = 1_800_000_000.0


@asynccontextmanager
async def api_to(odd: OddServer, *, limits: BudgetLimits = FAST, **settings: Any) -> AsyncIterator[BotaApi]:
    """Entered, with a call's time limit of five seconds."""
    chosen = CloudSettings(**({"api_base": odd.base, "s3_hosts": (odd.host,)} | settings))
    async with BotaApi(chosen, SecretStr(KEY), lambda: HUB_TIME, limits=limits, rng=Random(1), call_s=5) as api:
        yield api
