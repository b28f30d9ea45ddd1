"""The guest's journal as it is written: every line is kept, and anybody may wait for one."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GATEWAY = "bota-gateway.service"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the journal."""

    at: float
    """Unix seconds of the guest's clock."""
    unit: str
    text: str
    event: Mapping[str, Any]
    """What the gateway logged; empty for others."""


class Journal:
    """All lines of all boots.

    Args:
        copy: A file that gets every line, for people.
    """

    def __init__(self, copy: Path) -> None:
        self.lines: list[Line] = []
        self._copy = copy
        self._news = asyncio.Event()

    def mark(self) -> int:
        """A place in the journal, to look from there on."""
        return len(self.lines)

    def events(self, name: str, since: int = 0) -> list[Mapping[str, Any]]:
        """What the gateway logged under this name."""
        return [line.event for line in self.lines[since:] if line.event.get("event") == name]

    async def wait_for(self, condition: Callable[[Line], bool], *, since: int, within: float) -> Line:
        """The first line from ``since`` on for which ``condition`` holds.

        Raises:
            TimeoutError: none came within so many seconds.
        """
        async with asyncio.timeout(within):
            at = since
            while True:
                for line in self.lines[at:]:
                    if condition(line):
                        return line
                at = len(self.lines)
                self._news.clear()
                await self._news.wait()

    async def event(self, name: str, *, since: int, within: float, **fields: object) -> Mapping[str, Any]:
        """The gateway's first event of this name, with these fields, from ``since`` on.

        Raises:
            TimeoutError: none came within so many seconds.
        """

        def fits(line: Line) -> bool:
            return line.event.get("event") == name and all(line.event.get(key) == fields[key] for key in fields)

        try:
            return (await self.wait_for(fits, since=since, within=within)).event
        except TimeoutError:
            raise TimeoutError(f"no {name} {fields or ''} in the log within {within:g} s") from None

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Take lines until the machine is off."""
        with self._copy.open("a") as copy:
            while raw := await reader.readline():
                try:
                    line = _parse(json.loads(raw))
                except ValueError:
                    continue  # a boot's end may cut one off
                self.lines.append(line)
                copy.write(f"{line.at:.3f} {line.unit} {line.text}\n")
                copy.flush()
                self._news.set()


def _parse(entry: Mapping[str, Any]) -> Line:
    message = entry.get("MESSAGE", "")
    text = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
    unit = str(entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER") or "")
    event: Mapping[str, Any] = {}
    if unit == GATEWAY and text.startswith("{"):
        event = json.loads(text)
    return Line(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, unit, text, event)
