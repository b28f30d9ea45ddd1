"""Failures that repeat: what is told of them, in which words, and what is never hidden."""

import asyncio
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.config import LogSettings
from bota_gateway.status import logs
from bota_gateway.status.catalogue import BY_NAME
from bota_gateway.status.repeats import HIDDEN_AT_MOST_S, KEPT, WHOM, Repeats
from bota_gateway.status.story import Story
from support.commands import logging_kept
from support.virtual_time import virtual_time

START = 1_790_000_000.0
HOUR = 3600.0


@dataclass
class Hub:
    """A log with a clock of its own."""

    now: float = START

    def __post_init__(self) -> None:
        self.stream = io.StringIO()
        self.story = Story(lambda: self.now)
        logs.configure(LogSettings(format="json", level="debug"), self.stream, self.story, lambda: self.now)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was logged."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def fail(self, **more: Any) -> None:
        """A visit fails."""
        fields = {"recorder": "A1", "code": "radio_link_lost", "reason": "Gone.", "next_in": 60} | more
        structlog.get_logger().info("visit_failed", **fields)

    def times(self) -> list[int]:
        """The counts that were told."""
        return [line.get("times", 1) for line in self.lines if line["event"] == "visit_failed"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with logging_kept():
        yield Hub()


def test_a_repeated_failure_is_told_ever_more_seldom(hub: Hub) -> None:
    """The first, the second, then each doubling; the line says how many there were and since when."""
    for _ in range(40):
        hub.now += 10
        hub.fail()
    assert hub.times() == [1, 2, 4, 8, 16, 32]
    assert {line.get("first_at", START + 10) for line in hub.lines} == {START + 10}
    assert "Next in 60 s, again (32 times since " in hub.story.since(0)[-1].says


def test_none_is_hidden_for_more_than_an_hour(hub: Hub) -> None:
    """However often it was told before."""
    for _ in range(24 * 12):
        hub.now += 300
        hub.fail()
    told = [line["times"] for line in hub.lines[1:]]
    assert all(later - earlier <= HIDDEN_AT_MOST_S / 300 for earlier, later in itertools.pairwise(told))


@pytest.mark.parametrize(
    "other", [{"recorder": "B2"}, {"code": "radio_gatt_timeout"}, {"recording": "0a0b0c0d"}, {"recorder": None}]
)
def test_what_differs_is_another_failure(hub: Hub, other: dict[str, Any]) -> None:
    """Another recorder, recording or code is news, whatever else goes on."""
    for _ in range(3):
        hub.fail()
        hub.fail(**other, address="C0:FF:EE:00:00:01")
    assert hub.times() == [1, 1, 2, 2]


def test_the_address_of_a_known_recorder_does_not_matter(hub: Hub) -> None:
    """Private addresses change every few minutes."""
    for number in range(4):
        hub.fail(address=f"4{number}:00:00:00:00:01")
    assert hub.times() == [1, 2, 4]


def test_success_tells_how_many_tries_it_took(hub: Hub) -> None:
    """And what comes after it begins anew."""
    for _ in range(12):
        hub.fail()
    structlog.get_logger().info("visit_ended", recorder="B2", seconds=9, pulled=0, confirmed=0, next_in=300)
    structlog.get_logger().info("visit_ended", recorder="A1", seconds=9, pulled=1, confirmed=0, next_in=300)
    other, own = (line for line in hub.lines if line["event"] == "visit_ended")
    assert "after_times" not in other
    assert (own["after_times"], own["failing_since"]) == (12, START)
    assert ", after 12 tries since " in hub.story.since(0)[-1].says
    hub.fail()
    assert hub.times() == [1, 2, 4, 8, 1]


def test_what_repeats_does_not_end_itself(hub: Hub) -> None:
    """A visit that is left early for the same reason again is a repeat; what comes after a good one begins anew."""

    def visit(code: str | None) -> None:
        structlog.get_logger().info("visit_ended", recorder="A1", code=code, pulled=0, confirmed=0)

    for code in ("low_battery", "low_battery", "low_battery", None, "low_battery"):
        visit(code)
    assert [(line["code"], line.get("times"), line.get("after_times")) for line in hub.lines] == [
        ("low_battery", None, None),
        ("low_battery", 2, None),
        (None, None, 3),
        ("low_battery", None, None),
    ]


def test_what_concerns_the_whole_hub_is_ended_by_its_own_end_only(hub: Hub) -> None:
    """A key that is refused does not work again because the network does; whoever uploads meanwhile does not matter."""
    log = structlog.get_logger()
    for number in range(2):
        for code in ("cloud_unreachable", "cloud_unauthorized"):
            log.warning("cloud_paused", recorder=f"A{number}", code=code, reason="r", for_s=9)
    assert [line.get("times") for line in hub.lines] == [None, None, 2, 2]
    for code in ("cloud_unreachable", "cloud_unauthorized"):
        log.info("cloud_resumed", code=code)
        assert hub.lines[-1]["after_times"] == 2


def test_a_single_failure_is_not_worth_words_at_its_end(hub: Hub) -> None:
    """It is the line before."""
    hub.fail()
    structlog.get_logger().info("visit_ended", recorder="A1", seconds=9, pulled=1, confirmed=0, next_in=300)
    assert "after_times" not in hub.lines[-1]


def test_a_failure_after_a_day_of_peace_begins_anew(hub: Hub) -> None:
    """What ended it need not be a line of the log."""
    for _ in range(3):
        hub.fail()
    hub.now += 25 * HOUR
    hub.fail()
    assert hub.times() == [1, 2, 3, 1]
    assert hub.lines[2]["last_at"] == START


def test_visits_without_a_reason_stand_for_themselves(hub: Hub) -> None:
    """Two visits that went well are no repeated failure."""
    for _ in range(3):
        structlog.get_logger().info("visit_ended", recorder="A1", code=None, pulled=1, confirmed=1)
    assert len(hub.lines) == 3
    assert "times" not in hub.lines[-1]


@given(levels=st.lists(st.sampled_from(["info", "warning", "error", "exception"]), max_size=60))
def test_no_error_is_ever_hidden(levels: list[str]) -> None:
    """Whatever repeats, and whatever the catalogue says of it."""
    with logging_kept():
        hub = Hub()
        for level in levels:
            getattr(structlog.get_logger(), level)("upload_postponed", recorder="A1", recording="0a", code="c")
        told = [line["level"] for line in hub.lines]
    assert told.count("error") == sum(level in {"error", "exception"} for level in levels)


def test_what_is_looked_at_closely_is_not_thinned(hub: Hub) -> None:
    """At debug each one is wanted."""
    for _ in range(5):
        structlog.get_logger().debug("visit_ended", recorder="A1", code="low_battery", pulled=0, confirmed=0)
    assert len(hub.lines) == 5


@virtual_time
async def test_what_never_happens_again_is_told_within_the_hour() -> None:
    """A recorder that left for good must not take its last failures with it; the line tells the time of the last."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def now() -> float:
        return START + loop.time() - began

    with logging_kept():
        stream = io.StringIO()
        logs.configure(LogSettings(format="json"), stream, now=now)
        log = structlog.get_logger()
        with structlog.contextvars.bound_contextvars(recorder="A1"):
            for _ in range(7):
                log.info("visit_failed", code="c", reason="r", next_in=60)
                await asyncio.sleep(60)
        with structlog.contextvars.bound_contextvars(recorder="B2"):
            await asyncio.sleep(2 * HOUR)
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("times", 1) for line in lines] == [1, 2, 4, 7]
    assert (lines[-1]["recorder"], lines[-1]["last_at"]) == ("A1", START + 360)


def test_what_is_hidden_is_counted_all_the_same(hub: Hub) -> None:
    """Metrics count what happens, not what is told."""
    for _ in range(10):
        hub.fail()
    assert hub.story.counts["visit_failed", "info"] == 10
    assert len(hub.story.since(0)) == 4


def test_memory_is_bounded_and_nothing_is_lost_by_it(hub: Hub) -> None:
    """Strangers by the thousand push the oldest failure out, which is told then if it was hidden."""
    for _ in range(3):
        hub.fail()
    for number in range(2 * KEPT):
        hub.fail(recorder=f"S{number}")
    assert hub.times().count(1) == 2 * KEPT + 1
    assert [line["times"] for line in hub.lines if line.get("times")] == [2, 3]
    repeats = Repeats(lambda: START)
    for number in range(2 * KEPT):
        repeats(None, "info", {"event": "visit_failed", "level": "info", "recorder": f"S{number}", "code": "c"})
    assert len(repeats._runs) == KEPT


@pytest.mark.parametrize("event", BY_NAME.values(), ids=lambda event: event.name)
def test_the_catalogue_names_what_there_is(event: Any) -> None:
    """Fields by which failures are told apart, and events that end others; what is always an error never collapses."""
    assert set(event.collapses) <= {*event.fields, WHOM}
    assert all(BY_NAME[name].collapses for name in event.ends)
    assert not event.collapses or set(event.levels) - {"error"}


def test_the_console_tells_the_counts_in_words_only(hub: Hub) -> None:
    """Not a second time as fields."""
    with logging_kept():
        stream = io.StringIO()
        logs.configure(LogSettings(format="console"), stream)
        for _ in range(2):
            hub.fail()
        line = stream.getvalue().splitlines()[-1]
    assert "again (2 times since" in line
    assert "first_at" not in line
