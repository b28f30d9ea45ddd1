"""``bota-gateway why``: what something waits for, and what a person can do."""

import time
from pathlib import Path
from typing import Any

import click

from bota_gateway.cli import layout, offers, options
from bota_gateway.status import client
from bota_gateway.status.words import age, clock, duration, printable


@click.command(short_help="Say what a recorder or recording waits for, and what to do.")
@options.config_file
@options.socket
@options.as_json
@click.argument("name", required=False, shell_complete=offers.names)
def why(config_path: Path | None, socket_path: Path | None, as_json: bool, name: str | None) -> None:
    """Say what a recorder or a recording waits for, since when, until when, and what to do.

    NAME is a serial or its last digits, or a recording as for 'timeline'. Without it: everything that waits.
    """
    answer = client.ask(options.socket_of(config_path, socket_path), "why", of=name)
    if as_json:
        options.print_json(answer)
    elif name is None:
        _overview(answer)
    else:
        _told(answer)


def _told(answer: dict[str, Any]) -> None:
    about = "  ".join(filter(None, (answer["serial"], answer["file_id"], answer["state"])))
    click.secho(printable(about), bold=True)
    for cause in answer["causes"]:
        _cause(cause)


def _cause(cause: dict[str, Any]) -> None:
    code = f" [{cause['code']}]" if cause["code"] else ""
    click.echo(layout.wrapped(f"{cause['about']}: {cause['says']}{code}", "  ", "      "))
    times = []
    if cause["since"] is not None:
        times.append(f"since {clock(cause['since'])} ({age(cause['since'], time.time())})")
    if cause["next_in_s"] is not None:
        again = "next try" if cause["code"] else "next"
        times.append(f"{again} in {duration(cause['next_in_s'])}" if cause["next_in_s"] > 0 else f"{again} now")
    if times:
        click.echo(layout.wrapped(", ".join(times), "      ", "      "))
    if cause["remedy"]:
        click.echo(layout.wrapped(f"next: {cause['remedy']}", "      ", "      "))


def _overview(answer: dict[str, Any]) -> None:
    if not any(answer.values()):
        click.echo("Nothing is held up.")
    for cause in answer["gateway"]:
        _cause(cause)
    for one in answer["recorders"]:
        _told(one)
    for cause in answer["recordings"]:
        _cause(cause)
