"""``bota-gateway stats``: how transfers went, so that a bad antenna shows."""

from pathlib import Path
from typing import Any

import click

from bota_gateway.cli import layout, options
from bota_gateway.status import client
from bota_gateway.status.words import MISSING, rate, size


@click.command(short_help="Say how transfers went, per adapter and per recorder.")
@options.config_file
@options.socket
@options.as_json
@click.option(
    "--since",
    "since_s",
    callback=options.age,
    default="7d",
    show_default=True,
    help="Of transfers that ended in this time, such as 2h or 30d.",
)
@options.watch
def stats(
    config_path: Path | None, socket_path: Path | None, as_json: bool, since_s: float, every_s: float | None
) -> None:
    """Say how transfers over Bluetooth went, per adapter and per recorder, those that failed most first.

    An adapter that fails more than others with the same recorders, or has gaps, wants a better place or antenna; a
    recorder that fails wherever it is heard well wants a look itself. The signal, a median, is that before connecting
    ("dBm") and when the same adapter first heard the recorder again ("after"). The reasons are in docs/errors.md.
    """
    path = options.socket_of(config_path, socket_path)
    options.shown(lambda: _show(client.ask(path, "stats", since_s=since_s), as_json), every_s)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        options.print_json(answer)
        return
    if not answer["adapters"]:
        click.echo("No transfer in this time.")
    for name in ("adapter", "recorder"):
        if rows := answer[f"{name}s"]:
            headings = (name, ">transfers", ">failed", ">received", ">median", ">gaps/MB", ">dBm", ">after")
            layout.table(headings, [_row(name, one) for one in rows], [_note(one) for one in rows])


def _row(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one[name],
        str(one["transfers"]),
        f"{100 * one['failed_share']:.0f} %",
        size(one["bytes"]),
        rate(one["bytes_per_s"]),
        MISSING if one["gaps_per_mb"] is None else f"{one['gaps_per_mb']:.2f}",
        _signal(one["rssi"]),
        _signal(one["rssi_end"]),
    )


def _signal(dbm: float | None) -> str:
    return MISSING if dbm is None else f"{dbm:.0f}"


def _note(one: dict[str, Any]) -> str:
    name = one.get("name")
    reason = None if one["reason"] is None else f"{one['reason_times']} of {one['failed']} failed by {one['reason']}"
    return ", ".join(filter(None, (name if name != one.get("adapter") else None, reason)))
