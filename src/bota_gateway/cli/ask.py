"""Commands that ask the running daemon: status, recorders, recordings, timeline, retry."""

import time
from pathlib import Path
from typing import Any

import click

from bota_gateway.cli import layout, offers, options
from bota_gateway.status import client
from bota_gateway.status.naming import SHOWN_STATES
from bota_gateway.status.words import MISSING, age, clock, duration, moment, printable, size

_KEY_LENGTH = 40
_KEY_SHOWN = 16


def _ask(config_path: Path | None, socket_path: Path | None, question: str, **arguments: object) -> Any:
    return client.ask(options.socket_of(config_path, socket_path), question, **arguments)


@click.command(short_help="Say in one word how the gateway is, and why.")
@options.config_file
@options.socket
@options.as_json
@options.watch
def status(config_path: Path | None, socket_path: Path | None, as_json: bool, every_s: float | None) -> None:
    """Say how the gateway is in one word, why, and what moves right now."""
    options.shown(lambda: _show_status(_ask(config_path, socket_path, "status"), as_json), every_s)


def _show_status(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        options.print_json(answer)
        return
    click.echo(printable(f"{answer['health']}: {answer['summary']}"))
    for problem in answer["problems"]:
        again = f", next try {_when(problem)}" if _when(problem) else ""
        click.echo(layout.wrapped(f"{problem['message']} [{problem['code']}]{again}", "  ! "))
        click.echo(layout.wrapped(f"next: {problem['remedy']}"))
    for held in answer["held"]:
        click.echo(layout.wrapped(f"{_counted(held['count'])}: {held['message']} [{held['code']}]", "  ! "))
        click.echo(layout.wrapped(f"next: {held['remedy']}"))
    for pause in answer["pauses"]:
        said = f"{printable(pause['message'])} [{pause['code']}], next try in {duration(pause['next_attempt_in_s'])}"
        click.echo(layout.wrapped(said, "  ~ "))
        click.echo(layout.wrapped(f"next: {pause['remedy']}"))
    for link in answer["links"]:
        click.echo(layout.wrapped(_link_line(link), "  > "))
    for upload in answer["uploads"]:
        sent = f"{size(upload['sent_bytes'])} of {size(upload['size_bytes'])} sent"
        said = f"{printable(upload['serial'])}: uploading {upload['file_id']}, {sent}, {upload['doing']}"
        click.echo(layout.wrapped(said, "  > "))
    for adapter, happened in _radio_counts(answer["radio"]).items():
        click.echo(layout.wrapped(f"{adapter}, ever: {happened}", "  = "))


def _radio_counts(radio: dict[str, Any]) -> dict[str, str]:
    """What each adapter went through in all lives of this hub."""
    names = {one["address"]: f"{one['name']} ({one['address']})" for one in radio["adapters"] if one["address"]}
    told: dict[str, list[str]] = {}
    for one in radio["counts"]:
        adapter = one["adapter"] or "Bluetooth"
        told.setdefault(names.get(adapter, adapter), []).append(f"{one['name'].replace('_', ' ')} {one['count']}")
    return {printable(adapter): ", ".join(counts) for adapter, counts in told.items()}


def _link_line(link: dict[str, Any]) -> str:
    who = link["serial"] or link["address"]
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
@options.watch
def recorders(config_path: Path | None, socket_path: Path | None, as_json: bool, every_s: float | None) -> None:
    """List the recorders this hub has met, how they are, and why one is not served right now."""
    options.shown(lambda: _show_recorders(_ask(config_path, socket_path, "recorders"), as_json), every_s)


def _show_recorders(answer: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        options.print_json(answer)
    elif answer:
        headings = ("recorder", "cloud", ">heard", ">dBm", ">batt", ">used", ">holds", "firmware", "visit")
        layout.table(headings, [_recorder(one) for one in answer], [_why(one) for one in answer])
    else:
        click.echo("No recorder has been met yet.")


def _recorder(one: dict[str, Any]) -> tuple[str, ...]:
    battery = MISSING if one["battery_percent"] is None else f"{one['battery_percent']} %" + "+" * bool(one["charging"])
    return (
        one["serial"] or one["address"],
        _or_dash(one["membership"]),
        "now" if one["in_range"] or one["linked"] else _heard(one),
        _or_dash(one["rssi"]),
        battery,
        _share(one["storage_used_mb"], one["storage_total_mb"]),
        _or_dash(one["pending"]),
        _or_dash(one["firmware"]),
        _when(one, due="when seen") or MISSING,
    )


@click.command(short_help="List the recordings in custody and what each waits for.")
@options.config_file
@options.socket
@options.as_json
@click.option("--state", type=click.Choice([*SHOWN_STATES]), help="Only those in this state; open: not done yet.")
@click.option(
    "--recorder",
    "serial",
    shell_complete=offers.serials,
    help="Only those of this recorder (serial, or its last digits).",
)
@click.option("--older", callback=options.age, help="Only those that this hub has known for longer, such as 2h or 3d.")
@click.option("--newer", callback=options.age, help="Only those that it has not known for so long.")
@options.watch
def recordings(
    config_path: Path | None,
    socket_path: Path | None,
    as_json: bool,
    state: str | None,
    serial: str | None,
    older: float | None,
    newer: float | None,
    every_s: float | None,
) -> None:
    """List the recordings in custody, newest first, and what each one waits for.

    Their ids in the cloud are in --json, and in each one's timeline.
    """
    filters = {"state": state, "serial": serial, "older_s": older, "newer_s": newer}
    options.shown(lambda: _show_recordings(_ask(config_path, socket_path, "recordings", **filters), as_json), every_s)


def _show_recordings(answer: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        options.print_json(answer)
    elif answer:
        layout.table(RECORDING_HEADINGS, [recording_cells(one) for one in answer], [_why(one) for one in answer])
    else:
        click.echo("No recordings.")


RECORDING_HEADINGS = ("recorder", "recording", "recorded", ">length", ">size", "state", "next try")


def recording_cells(one: dict[str, Any]) -> tuple[str, ...]:
    """A recording below those headings."""
    length = one["size_bytes"]
    return (
        one["serial"],
        one["file_id"],
        moment(one["started_at"], time.time()),
        duration(one["duration_s"]),
        size(length) if length is not None else f"~{size(one['size_kib'] * 1024)}",
        one["state"],
        _when(one),
    )


@click.command(short_help="Tell the story of one recording.")
@options.config_file
@options.socket
@options.as_json
@click.argument("recording", shell_complete=offers.file_ids)
def timeline(config_path: Path | None, socket_path: Path | None, as_json: bool, recording: str) -> None:
    """Tell the story of one recording, step by step.

    RECORDING is its file id or the first digits of it, or SERIAL/FILE_ID where two recorders use the same.
    """
    answer = _ask(config_path, socket_path, "timeline", recording=recording)
    if as_json:
        options.print_json(answer)
        return
    told = answer["recording"]
    click.echo(printable(f"{told['serial']}  {told['file_id']}  {told['state']}  {told['cloud_id'] or ''}".rstrip()))
    click.echo(layout.wrapped(answer["summary"], "", "  "))
    if reason := _why(told):
        click.echo(layout.wrapped(", ".join(filter(None, (reason, _when(told) and f"next try {_when(told)}")))))
    for entry in answer["timeline"]:
        detail = "  ".join(f"{key}={_short(key, value)}" for key, value in entry["detail"].items() if value is not None)
        line = f"{clock(entry['at'])}  {entry['happened'].replace('_', ' '):<22} {detail}".rstrip()
        click.echo(layout.wrapped(line, "  ", " " * 23))


@click.command(short_help="Bring parked recordings, or a recorder, back to work.")
@options.config_file
@options.socket
@options.as_json
@click.argument("recording", required=False, shell_complete=offers.names)
@click.option(
    "--reason", shell_complete=offers.reasons, help="All that are parked for this reason, for example recorder_unbound."
)
def retry(
    config_path: Path | None, socket_path: Path | None, as_json: bool, recording: str | None, reason: str | None
) -> None:
    """Bring a parked recording, or all that are parked for one reason, back to work after you removed the cause.

    One that was forgotten by hand comes back only under its own name: it is pulled again, if its recorder still has it.

    With a recorder's serial, or its last digits, in the place of a recording: visit it as soon as it is heard,
    whatever it waits for.
    """
    if (recording is None) == (reason is None):
        raise click.UsageError("Name a recording or a recorder, or --reason CODE for all that are parked for it.")
    answer = _ask(config_path, socket_path, "retry", recording=recording, reason=reason)
    if as_json:
        options.print_json(answer)
        return
    left = answer["left_forgotten"]
    if reason and not answer["retried"] and not left:
        click.echo(printable(f"Nothing is parked for '{reason}'. What is: bota-gateway recordings --state parked"))
        return
    click.echo(f"{answer['retried']} brought back to work.")
    if left:
        click.echo(f"{left} forgotten by hand left alone: name each one that is wanted after all.")


def _short(key: str, value: object) -> str:
    """As it is; of a digest or key only its beginning, because --json has all of it and a line has not the room."""
    if key.endswith("_at") and isinstance(value, int | float):
        return clock(value)
    text = str(value)
    return f"{text[:_KEY_SHOWN]}…" if len(text) >= _KEY_LENGTH and " " not in text else text


def _heard(one: dict[str, Any]) -> str:
    """How long ago; a visit of an earlier run is known by the wall clock only, which may have leapt since."""
    if one["heard_ago_s"] is not None:
        return duration(one["heard_ago_s"])
    return age(one["last_seen_at"], one["last_seen_at"] + one["seen_ago_s"])


def _counted(recordings: int) -> str:
    return f"{recordings} recording{'s' * (recordings != 1)}"


def _share(part: int | None, whole: int | None) -> str:
    return f"{100 * part // whole} %" if part is not None and whole else MISSING


def _or_dash(value: object) -> str:
    return MISSING if value is None else str(value)


def _when(one: dict[str, Any], due: str = "now") -> str:
    """When it is its turn again; nothing when that depends on something else than time."""
    wait = one["next_attempt_in_s"]
    if wait is None:
        return ""
    return f"in {duration(wait)}" if wait > 0 else due


def _why(one: dict[str, Any]) -> str:
    """The reason in words with its code; nothing when nothing holds it up."""
    reason = one.get("parked_reason") or one.get("waiting_for")
    return f"{one.get('waiting_detail') or reason} [{reason}]" if reason else ""
