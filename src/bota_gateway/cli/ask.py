"""Commands that ask the running daemon: status, recorders, recordings, timeline, retry."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bota_gateway.cli import options
from bota_gateway.model import Custody
from bota_gateway.status import client
from bota_gateway.status.logs import printable
from bota_gateway.status.words import MISSING, clock, duration, size


def _ask(config_path: Path | None, socket_path: Path | None, question: str, **arguments: object) -> Any:
    path = socket_path or options.settings(config_path).status.socket
    return client.ask(path, question, **arguments)


@click.command(short_help="Say in one word how the gateway is, and why.")
@options.config_file
@options.socket
@options.as_json
def status(config_path: Path | None, socket_path: Path | None, as_json: bool) -> None:
    """Say how the gateway is in one word, why, and what moves right now."""
    answer = _ask(config_path, socket_path, "status")
    if as_json:
        options.print_json(answer)
        return
    click.echo(f"{answer['health']}: {answer['summary']}")
    for problem in answer["problems"]:
        click.echo(f"  ! {printable(problem['message'])} [{problem['code']}]\n    next: {printable(problem['remedy'])}")
    for link in answer["links"]:
        click.echo(f"  > {_link_line(link)}")


def _link_line(link: dict[str, Any]) -> str:
    who = printable(link["serial"] or link["address"])
    if link["file_id"] is None:
        return f"{who}: visiting for {duration(link['for_s'])}"
    return (
        f"{who}: receiving {link['file_id']}, {size(link['received_bytes'])} of about {size(link['expected_bytes'])} "
        f"at {size(link['bytes_per_s'])}/s"
    )


@click.command(short_help="List the recorders this hub has met.")
@options.config_file
@options.socket
@options.as_json
def recorders(config_path: Path | None, socket_path: Path | None, as_json: bool) -> None:
    """List the recorders this hub has met, how they are, and why one is not served right now."""
    answer = _ask(config_path, socket_path, "recorders")
    if as_json:
        options.print_json(answer)
        return
    table = _table("recorder", "cloud", "last seen", "signal", "battery", "holds", "firmware", "why not now")
    for one in answer:
        table.add_row(
            printable(one["serial"]),
            one["membership"],
            f"{duration(one['seen_ago_s'])} ago",
            MISSING if one["rssi"] is None else f"{one['rssi']} dBm",
            MISSING if one["battery_percent"] is None else f"{one['battery_percent']} %" + "+" * bool(one["charging"]),
            _or_dash(one["pending"]),
            printable(_or_dash(one["firmware"])),
            Text(_why(one)),
        )
    _show(table, empty="No recorder has been met yet.")


@click.command(short_help="List the recordings in custody and what each waits for.")
@options.config_file
@options.socket
@options.as_json
@click.option("--state", type=click.Choice([state.value for state in Custody]), help="Only those in this state.")
@click.option("--recorder", "serial", help="Only those of this recorder (serial).")
def recordings(
    config_path: Path | None, socket_path: Path | None, as_json: bool, state: str | None, serial: str | None
) -> None:
    """List the recordings in custody, newest first, and what each waits for."""
    answer = _ask(config_path, socket_path, "recordings", state=state, serial=serial)
    if as_json:
        options.print_json(answer)
        return
    table = _table("recorder", "recording", "recorded", "length", "size", "state", "cloud id", "waits for")
    for one in answer:
        table.add_row(
            printable(one["serial"]),
            one["file_id"],
            clock(one["started_at"]),
            duration(one["duration_s"]),
            size(one["size_bytes"]) if one["size_bytes"] is not None else f"~{size(one['size_kib'] * 1024)}",
            one["state"],
            _or_dash(one["cloud_id"]),
            Text(_why(one)),
        )
    _show(table, empty="No recordings.")


@click.command(short_help="Tell the story of one recording.")
@options.config_file
@options.socket
@options.as_json
@click.argument("recording")
def timeline(config_path: Path | None, socket_path: Path | None, as_json: bool, recording: str) -> None:
    """Tell the story of one recording, step by step.

    RECORDING is its file id or the first digits of it, or SERIAL/FILE_ID where two recorders use the same.
    """
    answer = _ask(config_path, socket_path, "timeline", recording=recording)
    if as_json:
        options.print_json(answer)
        return
    told = answer["recording"]
    click.echo(f"{printable(told['serial'])}  {told['file_id']}  {told['state']}  {_why(told)}".rstrip())
    for entry in answer["timeline"]:
        detail = "  ".join(f"{key}={printable(value)}" for key, value in entry["detail"].items() if value is not None)
        click.echo(f"  {clock(entry['at'])}  {entry['happened'].replace('_', ' '):<22} {detail}".rstrip())


@click.command(short_help="Bring parked recordings back to work.")
@options.config_file
@options.socket
@options.as_json
@click.argument("recording", required=False)
@click.option("--reason", help="All that are parked for this reason, for example recorder_unbound.")
def retry(
    config_path: Path | None, socket_path: Path | None, as_json: bool, recording: str | None, reason: str | None
) -> None:
    """Bring a parked recording, or all that are parked for one reason, back to work after you removed the cause."""
    if (recording is None) == (reason is None):
        raise click.UsageError("Name a recording, or --reason CODE for all that are parked for it.")
    answer = _ask(config_path, socket_path, "retry", recording=recording, reason=reason)
    if as_json:
        options.print_json(answer)
        return
    click.echo(f"{answer['retried']} brought back to work.")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _show(table: Table, *, empty: str) -> None:
    if table.row_count:
        Console(soft_wrap=False).print(table)
    else:
        click.echo(empty)


def _or_dash(value: object) -> str:
    return MISSING if value is None else str(value)


def _why(one: dict[str, Any]) -> str:
    reason = one.get("parked_reason") or one.get("waiting_for")
    if reason is None:
        return ""
    parts = [printable(one.get("waiting_detail") or reason)]
    if one.get("next_attempt_in_s") is not None:
        parts.append(f"next try in {duration(max(0.0, one['next_attempt_in_s']))}")
    return f"{', '.join(parts)} [{reason}]"
