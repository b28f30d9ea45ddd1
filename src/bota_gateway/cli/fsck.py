"""``bota-gateway fsck``: is a spool whole? Needs no daemon, and none may run on it."""

from pathlib import Path

import click

from bota_gateway.cli import layout, options
from bota_gateway.spool.fsck import Examination, Fault, examine
from bota_gateway.status.words import size


@click.command(short_help="Check a spool on which no gateway runs.")
@click.argument("directory", type=options.A_PATH, required=False)
@options.config_file
@options.as_json
@click.pass_context
def fsck(ctx: click.Context, directory: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Check a spool on which no gateway runs: every page, bytes against digests, rows against the journal, orphans.

    DIRECTORY is a spool's, also that of one that was set aside; without it, the configuration's. Nothing is changed.
    It takes as long as reading the whole file.

    \b
    Exit codes: 0 the spool is whole, 1 something is wrong with it, 3 it can't be looked at.
    """
    seen = examine(directory or options.settings(config_path).spool.directory)
    if as_json:
        options.print_json(_as_json(seen))
    else:
        _print(seen)
    ctx.exit(0 if seen.whole else 1)


def _print(seen: Examination) -> None:
    click.echo(f"{seen.directory}: recordings looked at: {seen.recordings}; audio compared: {size(seen.audio_bytes)}")
    for fault in seen.faults:
        click.echo(layout.wrapped(_sentence(fault), "  ! "))
        click.echo(layout.wrapped(f"next: {fault.remedy}"))
    for note in seen.notes:
        click.echo(layout.wrapped(note, "  - "))
    if seen.only_here:
        click.echo(f"Captured, and not in the cloud yet: {seen.only_here}.")
    click.echo("The spool is whole." if seen.whole else f"Faults: {len(seen.faults)}.")


def _sentence(fault: Fault) -> str:
    about = f"{fault.recording}: " if fault.recording else ""
    return f"{about}{fault.what} [{fault.code}]"


def _as_json(seen: Examination) -> dict[str, object]:
    return {
        "directory": str(seen.directory),
        "whole": seen.whole,
        "recordings": seen.recordings,
        "audio_bytes": seen.audio_bytes,
        "only_here": seen.only_here,
        "faults": [
            {"code": fault.code, "recording": fault.recording, "message": fault.what, "remedy": fault.remedy}
            for fault in seen.faults
        ],
        "notes": seen.notes,
    }
