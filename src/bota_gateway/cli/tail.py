"""``bota-gateway tail``: what the running gateway tells, as it happens."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from bota_gateway.cli import layout, offers, options
from bota_gateway.status import client, logs
from bota_gateway.status.catalogue import LEVELS
from bota_gateway.status.words import json_text

_INDENT = " " * 11
"""Below recorder and recording, so that the times at the left stay a column."""


@click.command(short_help="Follow what the gateway tells.")
@options.config_file
@options.socket
@options.as_json
@click.option("--lines", "-n", type=click.IntRange(0), default=20, show_default=True, help="Show this many of before.")
@click.option(
    "--follow/--no-follow", default=True, help="Go on until Ctrl-C, or only show what was.  [default: follow]"
)
@click.option(
    "--recorder", shell_complete=offers.serials, help="Only what is about this recorder (serial, or its last digits)."
)
@click.option(
    "--recording",
    shell_complete=offers.file_ids,
    help="Only what is about this recording (file id, or its first digits).",
)
@click.option("--level", type=click.Choice([*LEVELS]), default="debug", help="Only this level and above.")
def tail(
    config_path: Path | None,
    socket_path: Path | None,
    as_json: bool,
    lines: int,
    follow: bool,
    recorder: str | None,
    recording: str | None,
    level: str,
) -> None:
    """Follow what the gateway tells, line by line. It remembers the last thousand, whatever became of the log.

    With --json, one object a line.
    """
    path = options.socket_of(config_path, socket_path)
    wanted = {"lines": lines, "recorder": recorder, "recording": recording, "level": level}
    happenings: Iterable[dict[str, Any]] = (
        client.follow(path, "follow", **wanted) if follow else client.ask(path, "happenings", **wanted)
    )
    for one in happenings:
        click.echo(json_text(one) if as_json else layout.wrapped(logs.told_line(one, time.time()), "", _INDENT))
