"""``bota-gateway forget``: let recordings rest for good, after saying what is lost."""

import sys
from pathlib import Path
from typing import Any

import click

from bota_gateway.cli import layout, offers, options
from bota_gateway.cli.ask import RECORDING_HEADINGS, recording_cells
from bota_gateway.errors import StatusError
from bota_gateway.status import client
from bota_gateway.status.words import printable


@click.command(short_help="Let recordings rest for good, after saying what is lost.")
@options.config_file
@options.socket
@options.as_json
@click.option("--yes", is_flag=True, help="Do not ask. A last copy stays all the same, without --last-copy.")
@click.option("--last-copy", is_flag=True, help="Also where this hub holds the last copy that it knows of.")
@click.argument("recordings", nargs=-1, required=True, metavar="RECORDING...", shell_complete=offers.file_ids)
def forget(
    config_path: Path | None,
    socket_path: Path | None,
    as_json: bool,
    yes: bool,
    last_copy: bool,
    recordings: tuple[str, ...],
) -> None:
    """Let recordings rest for good: this hub works on them no more, and deletes their audio here.

    No recorder is told to delete anything because of it. It says what is lost, and asks: for the last copy of a
    recording its file id has to be typed. What the cloud has stored only loses its audio here, and goes on otherwise.
    'retry' with its name brings a recording back, if its recorder still has it.

    RECORDING is as for 'timeline'.

    \b
    Exit codes: 0 forgotten, 1 not forgotten. Several are forgotten one by one; what was, is said.
    """
    path = options.socket_of(config_path, socket_path)
    seen = {_key(one): one for one in (client.ask(path, "loss", recording=name) for name in recordings)}
    if not as_json:
        _explain(list(seen.values()))
    if yes:
        _require_said(seen.values(), last_copy=last_copy)
    elif not _asked(list(seen.values()), as_json=as_json, last_copy=last_copy):
        click.echo("Nothing was forgotten.")
        click.get_current_context().exit(1)
    done: list[dict[str, Any]] = []
    try:
        for key, one in seen.items():
            done.append(client.ask(path, "forget", recording=key, last_copy=one["last_copy"]))
            if not as_json:
                click.echo(printable(f"{key} forgotten."))
    finally:
        if as_json:
            options.print_json(done)


def _key(one: dict[str, Any]) -> str:
    recording = one["recording"]
    return f"{recording['serial']}/{recording['file_id']}/{recording['started_at']}"


def _explain(seen: list[dict[str, Any]]) -> None:
    layout.table(
        RECORDING_HEADINGS, [recording_cells(one["recording"]) for one in seen], [str(one["says"]) for one in seen]
    )


def _require_said(seen: Any, *, last_copy: bool) -> None:
    """Raise ``forget_last_copy`` unless every last copy may go."""
    last = [_key(one) for one in seen if one["last_copy"]]
    if last and not last_copy:
        raise StatusError(
            f"Nothing was forgotten: this hub holds the last copy that it knows of {', '.join(last)}.",
            code="forget_last_copy",
            remedy="Save it first: bota-gateway export. To delete it all the same: --yes --last-copy.",
        )


def _asked(seen: list[dict[str, Any]], *, as_json: bool, last_copy: bool) -> bool:
    """Whether the person at the terminal wants it."""
    if as_json or not sys.stdin.isatty():
        raise StatusError(
            "Nothing was forgotten: there is nobody to ask.",
            code="forget_not_asked",
            remedy="Ask on a terminal, or say --yes.",
        )
    typed = [one for one in seen if one["last_copy"] and not last_copy]
    for one in typed:
        file_id = one["recording"]["file_id"]
        said = click.prompt(f"Type {printable(file_id)} to delete the last copy of it", default="", show_default=False)
        if said.strip() != file_id:
            return False
    if len(typed) == len(seen):
        return True
    return click.confirm("Forget it?" if len(seen) == 1 else f"Forget these {len(seen)}?")
