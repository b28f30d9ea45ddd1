"""``bota-gateway top``: a live screen of what the gateway does, asked over its socket each second."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from bota_gateway.cli import options, screen, top_view
from bota_gateway.cli.top_view import Seen, Upload
from bota_gateway.errors import StatusError
from bota_gateway.status import client

EVERY_S = 1.0
_TOLD = 100
"""Happenings asked for: more than any terminal has lines."""


@click.command(short_help="Show live what the gateway does, on the whole terminal.")
@options.config_file
@options.socket
@click.option("--once", is_flag=True, help="Print one frame and leave.")
def top(config_path: Path | None, socket_path: Path | None, once: bool) -> None:
    """Show live what the gateway does: health, transfers, queue, budget, recorders and the last happenings.

    Recorders that need a look come first. 'q' or Ctrl-C leaves; nothing is changed by looking. It goes on when the
    gateway is stopped and started again.
    """
    path = options.socket_of(config_path, socket_path)
    console = Console(highlight=False)
    if once:
        _print(console, _Watch(lambda question, **more: client.ask(path, question, **more)).look())
        return
    if not console.is_terminal or console.is_dumb_terminal:
        raise click.UsageError("This is no terminal for a live screen: over ssh use ssh -t, or --once for one frame.")
    watch = _Watch(lambda question, **more: client.ask(path, question, **more))
    with contextlib.closing(screen.Screen(console)) as live:
        live.run(watch.look_again, lambda seen: _frame(seen, console), EVERY_S)


def _frame(seen: Seen | None, console: Console) -> list[Text]:
    return top_view.frame(seen or Seen(time.time()), console.width, console.height)


def _print(console: Console, seen: Seen) -> None:
    for line in _frame(seen, console):
        console.print(line, no_wrap=True, crop=False)


class _Watch:
    """Asks the gateway, and remembers what it takes to tell rates and silences."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._began: dict[Upload, tuple[str, int, float]] = {}
        """Step, bytes sent and time at which an upload was first seen in that step."""
        self._seen = Seen(time.time())

    def look(self) -> Seen:
        """What the gateway says now.

        Raises:
            StatusError: it does not answer.
        """
        status = self._ask("status")
        return Seen(
            at=time.time(),
            status=status,
            recorders=self._ask("recorders"),
            happenings=self._ask("happenings", lines=_TOLD, level="info"),
            rates=self._rates(status["uploads"]),
        )

    def look_again(self) -> Seen:
        """As `look`; where nobody answers, what was said last, and why there is nothing newer."""
        try:
            self._seen = self.look()
        except StatusError as silent:
            now, last = time.time(), self._seen
            since = now if last.silence is None else last.silent_since
            said = f"{silent.message} {silent.next_step}"
            self._seen = replace(last, at=now, rates={}, silence=said, silent_since=since)
        return self._seen

    def _rates(self, uploads: list[dict[str, Any]]) -> dict[Upload, float]:
        now = time.monotonic()
        began, rates = {}, {}
        for one in uploads:
            key, sent = (one["serial"], one["file_id"]), one["sent_bytes"]
            step, sent_before, at = self._began.get(key, ("", 0, 0.0))
            if step != one["state"] or sent < sent_before:
                step, sent_before, at = one["state"], sent, now
            began[key] = (step, sent_before, at)
            if sent > sent_before and now > at:
                rates[key] = (sent - sent_before) / (now - at)
        self._began = began
        return rates
