import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bota_gateway

PACKAGE = Path(bota_gateway.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "protocol": set(),
    "model": set(),
    "milestones": set(),
    "pulse": {"errors"},
    "backoff": set(),
    "errors": set(),
    "config": set(),
    "config_loading": {"config", "errors"},
    "radio": {"protocol", "model", "pulse", "backoff", "errors", "config"},
    "spool": {"model", "pulse", "errors", "config"},
    "cloud": {"model", "pulse", "backoff", "errors", "config"},
    "sync": {"radio", "protocol", "spool", "model", "milestones", "pulse", "backoff", "errors", "config"},
    "upload": {"spool", "cloud", "model", "milestones", "pulse", "backoff", "errors", "config"},
    "status": {"spool", "model", "errors", "config"},
    "daemon": {"radio", "sync", "spool", "cloud", "upload", "status", "model", "pulse", "backoff", "errors", "config"},
    "sim": {"protocol", "model", "errors"},
    "cli": {
        *("daemon", "radio", "sync", "spool", "cloud", "upload", "status", "sim", "protocol"),
        *("model", "errors", "config", "config_loading"),
    },
}
"""The arrows of the house plan: a room knows only rooms that need no knowledge of it."""

ONLY_IN = {"bleak": "radio", "aiosqlite": "spool", "sqlite3": "spool", "httpx": "cloud"}
"""The library on the left is imported by the room on the right alone, so that it can be replaced in one place."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that the room is seen"
            yield node.module or ""
            if node.module == "bota_gateway":
                yield from (f"bota_gateway.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_house_plan(path: Path) -> None:
    """Arrows only point to a room that needs no knowledge of its caller."""
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "bota_gateway" and len(parts) > 1 and parts[1] != room:
            assert parts[1] in MAY_IMPORT[room], f"{path} imports {name}"
        owner = ONLY_IN.get(parts[0])
        assert owner in (None, room), f"{path} imports {parts[0]}, which belongs to {owner}/"


def test_every_room_has_its_arrows() -> None:
    """A new room must state what it may know."""
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_read_in_minutes(path: Path) -> None:
    """A file over 450 lines is several rooms in one."""
    assert len(path.read_text("utf-8").splitlines()) <= 450


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_raised_from_within_except_star(path: Path) -> None:
    """Up to Python 3.11.3, which Debian 12 has, such an error arrives wrapped in a group that no caller expects."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.TryStar):
            inside = [inner for handler in node.handlers for inner in ast.walk(handler)]
            assert not any(isinstance(inner, ast.Raise) for inner in inside), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(path) == "spool"], ids=lambda path: path.name)
def test_no_statement_numbers_its_placeholders(path: Path) -> None:
    """Python 3.14 refuses ``?1`` with a sequence of values; 3.11, which most hubs have, does not even warn."""
    assert not re.search(r"\?\d", path.read_text("utf-8"))
