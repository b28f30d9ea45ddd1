"""What every test gets: the choice of the event loop's clock. And what is said at the end of a run."""

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.virtual_time import VirtualTimeLoop, hold_during_aiosqlite

if TYPE_CHECKING:
    from support.swift import Swift


# Hypothesis takes an example of more than 200 ms for a failure, and calls it flaky when it is fast the next time: on a
# machine that is busy with something else any of them may be.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-crash-point",
        action="store_true",
        help="die at all points of tests/custody, also where nothing changed since the one before",
    )
    parser.addoption("--kill-seed", default="1", help="makes another plan of kills for tests/system/test_kills.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at how many points the gateway died, in which states it was killed, and what other tests counted."""
    counts = Counter[str]()
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        counts.update({name: count for name, count in report.user_properties if name.startswith(("crash_", "kill"))})
        for name, told in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(str(told))
    if counts["kills"]:
        states = {name.removeprefix("killed_at "): times for name, times in counts.most_common() if " " in name}
        struck = ", ".join(f"{state} {times}" for state, times in states.items())
        terminalreporter.write_line(
            f"kills of the running daemon: {counts['kills']}; how often something was in each state then: {struck}"
        )
    if counts["crash_points"]:
        terminalreporter.write_line(
            f"crash points: {counts['crash_points']:,} enumerated, {counts['crash_runs']:,} that differ were died at, "
            f"{counts['crash_twice']:,} of them twice"
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: run on a loop whose clock jumps (tests/support/virtual_time.py)")
    hold_during_aiosqlite()


def pytest_collection() -> None:
    """No garbage is collected while test files are compiled.

    Python before 3.11.9 and 3.12.3 may stumble over it, with "AST constructor recursion depth mismatch" (gh-106905).
    """
    gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Swift]":
    """OpenStack Swift, started when a test first asks and shared by all workers."""
    from support.swift import shared_swift  # noqa: PLC0415 - most tests never need what it imports

    own = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    with shared_swift(own.parent if is_worker else own, os.getppid() if is_worker else os.getpid()) as server:
        yield server
