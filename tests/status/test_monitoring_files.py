"""The alert rules, the dashboard and the table of metrics, held against what the gateway really exports."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.status.metrics import HEALTH, Metrics
from bota_gateway.status.story import Story
from support.spooling import TurnableClock, bring_to, settings_for

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALERTS = DOCS / "monitoring" / "alerts.yml"
DASHBOARD = DOCS / "monitoring" / "dashboard.json"
NAME = re.compile(r"\bbota_gateway_[a-z_]+\b")
PROMTOOL = shutil.which("promtool")


class Quiet:
    """Nothing is under way."""

    links: tuple[Any, ...] = ()
    uploads: tuple[Any, ...] = ()
    pauses: tuple[Any, ...] = ()
    paused: dict[str, float] = {}  # noqa: RUF012 - never changed
    failing: dict[str, Any] = {}  # noqa: RUF012 - never changed


@pytest.fixture
async def exported(tmp_path: Path) -> set[str]:
    """Names of all metrics, as Prometheus stores them."""
    clock = TurnableClock()
    async with Spool.open(settings_for(tmp_path), clock) as spool:
        await bring_to(spool, Custody.STORED, 1)
        metrics = Metrics(spool, clock, Quiet(), Story(clock))  # type: ignore[arg-type] # as much as metrics ask for
        text = (await metrics.text("ok")).decode()
    families = text_string_to_metric_families(text)
    return {f"{family.name}{SUFFIX.get(family.type, '')}" for family in families}


SUFFIX = {"counter": "_total", "info": "_info"}


def expressions(node: Any) -> Iterator[str]:
    match node:
        case dict():
            for key, value in node.items():
                if key in {"expr", "query"} and isinstance(value, str):
                    yield value
                else:
                    yield from expressions(value)
        case list():
            for one in node:
                yield from expressions(one)
        case _:
            return


async def test_the_dashboard_asks_for_what_there_is(exported: set[str]) -> None:
    """A panel on a metric that nobody exports is empty for ever."""
    asked = {name for text in expressions(json.loads(DASHBOARD.read_text())) for name in NAME.findall(text)}
    assert len(asked) > 10
    assert asked <= exported


async def test_alerts_watch_what_there_is(exported: set[str]) -> None:
    """An alert on a metric that nobody exports never rings."""
    lines = re.findall(r"^ +expr: (.*)$", ALERTS.read_text(), re.MULTILINE)
    assert len(lines) > 5
    assert {name for line in lines for name in NAME.findall(line)} <= exported
    words = {word for line in lines for word in re.findall(r'health="(\w+)"', line)}
    assert words <= set(HEALTH)


async def test_each_metric_is_explained(exported: set[str]) -> None:
    """The table names every metric there is, and none that there is not."""
    told = set(NAME.findall((DOCS / "monitoring.md").read_text()))
    assert {name for name in exported if name.startswith("bota_gateway_")} == told


def test_each_alert_says_what_to_type_next() -> None:
    """Whoever is woken reads the next step in the message."""
    rules = ALERTS.read_text().split("- alert: ")[1:]
    assert all("summary:" in rule and "description:" in rule for rule in rules)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong() -> None:
    """Prometheus's own tool reads the rules."""
    subprocess.run([str(PROMTOOL), "check", "rules", str(ALERTS)], check=True, capture_output=True)  # noqa: S603
