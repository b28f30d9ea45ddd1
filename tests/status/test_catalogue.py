import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bota_gateway
from bota_gateway.config import Settings
from bota_gateway.config_loading import api_key
from bota_gateway.errors import ConfigError
from bota_gateway.radio.classify import PERMISSION_ADVICE
from bota_gateway.spool.listing import TOLD
from bota_gateway.status.catalogue import BY_NAME, LEVELS, Event
from bota_gateway.status.remedies import remedy
from bota_gateway.status.words import sentence

SOURCES = sorted(Path(bota_gateway.__file__).parent.rglob("*.py"))
METHODS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error", "log": None}
"""Logging methods and the level of each; ``log`` is told its level."""
CONTEXT = {"recorder", "recording", "address", "exc_info"}
"""Stand with any event they fit; bound by the visit or the upload that is under way."""


def log_calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call of a logger in the package: where, the call, the method."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method)) if method in METHODS:
                    yield f"{path.parent.name}/{path.name}:{node.lineno}", node, method
                case _:
                    continue


CALLS = list(log_calls())


def names_of(call: ast.Call, method: str) -> set[str]:
    match call.args[1] if method == "log" else call.args[0]:
        case ast.Constant(value=str(name)):
            return {name}
        case ast.Name(id="event"):
            return set(TOLD.values())  # the one table of events: what a recorder's list changed
        case other:
            raise AssertionError(f"an event's name is written out, so that it can be found: {ast.unparse(other)}")


@pytest.mark.parametrize(("where", "call", "method"), CALLS, ids=[where for where, _, _ in CALLS])
def test_every_event_is_in_the_catalogue(where: str, call: ast.Call, method: str) -> None:
    """A line in the log that no document explains helps nobody."""
    told = {word.arg for word in call.keywords if word.arg is not None}
    for name in names_of(call, method):
        assert name in BY_NAME
        assert METHODS[method] in (*BY_NAME[name].levels, None)
        assert told <= {*BY_NAME[name].fields, *CONTEXT}


def test_the_catalogue_holds_nothing_that_is_never_logged() -> None:
    """An event that nothing logs misleads whoever waits for it; library_warning comes from a handler."""
    logged = {name for _, call, method in CALLS for name in names_of(call, method)}
    assert set(BY_NAME) == logged | {"library_warning"}


@pytest.mark.parametrize("event", BY_NAME.values(), ids=lambda event: event.name)
def test_an_event_says_what_it_means(event: Event) -> None:
    """Words, known levels, and a template that names only fields of the event."""
    assert set(event.levels) <= set(LEVELS)
    assert event.fields_told <= set(event.fields)
    assert event.meaning
    assert sentence(event.says, {})


@pytest.mark.parametrize("event", BY_NAME.values(), ids=lambda event: event.name)
def test_what_always_alarms_says_what_to_do(event: Event) -> None:
    """Whoever is alarmed needs the next step, or the word that the gateway helps itself."""
    if {"debug", "info"}.isdisjoint(event.levels):
        assert event.todo != "Nothing."


def test_a_remedy_is_the_one_that_its_error_brings() -> None:
    """Where only the code is kept the same is said as where the error is at hand, with names of settings filled in."""
    with pytest.raises(ConfigError) as failed:
        api_key(Settings(), {})
    assert remedy(failed.value.error_code) == failed.value.next_step
    assert remedy("radio_not_allowed") == PERMISSION_ADVICE
