"""A spool in a directory of the test, on a clock that the test turns."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.spool import Spool
from support.spooling import TurnableClock, settings_for


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def settings(tmp_path: Path) -> SpoolSettings:
    return settings_for(tmp_path / "spool")


@pytest.fixture
async def spool(settings: SpoolSettings, clock: TurnableClock) -> AsyncIterator[Spool]:
    async with Spool.open(settings, clock) as opened:
        yield opened
