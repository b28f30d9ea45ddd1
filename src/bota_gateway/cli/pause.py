"""``bota-gateway pause`` and ``resume``: let the radio or the uploads rest for a while."""

from pathlib import Path

import click

from bota_gateway.cli import options
from bota_gateway.status import client
from bota_gateway.status.answers import PAUSABLE

_WHAT = {
    "radio": "no recorder is visited, links are ended; a transfer under way begins again later",
    "uploads": "nothing goes to the cloud; what is captured waits here",
}


@click.command(short_help="Let the radio or the uploads rest.")
@options.config_file
@options.socket
@options.as_json
@click.argument("part", type=click.Choice(PAUSABLE))
def pause(config_path: Path | None, socket_path: Path | None, as_json: bool, part: str) -> None:
    """Let the radio or the uploads rest, over restarts too, until 'resume'. Nothing is lost by it.

    With --json: what is paused now, and since when (Unix seconds).
    """
    paused = client.ask(options.socket_of(config_path, socket_path), "pause", part=part)
    if as_json:
        options.print_json(paused)
        return
    click.echo(f"{part} paused: {_WHAT[part]}. When done: bota-gateway resume {part}")


@click.command(short_help="Let what was paused work again.")
@options.config_file
@options.socket
@options.as_json
@click.argument("part", type=click.Choice([*PAUSABLE, "all"]), default="all")
def resume(config_path: Path | None, socket_path: Path | None, as_json: bool, part: str) -> None:
    """Let the radio, the uploads, or all that was paused work again.

    With --json: what is still paused, and since when (Unix seconds).
    """
    path = options.socket_of(config_path, socket_path)
    paused = {}
    for one in PAUSABLE if part == "all" else [part]:
        paused = client.ask(path, "resume", part=one)
    if as_json:
        options.print_json(paused)
        return
    click.echo("All that was paused works again." if part == "all" else f"{part} resumed.")
