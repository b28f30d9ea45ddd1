"""``bota-gateway doctor``: what is wrong around the gateway, and what to do about it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from bota_gateway.cli import layout, options
from bota_gateway.cli.doctor import bundle, view
from bota_gateway.cli.doctor.cases import Finding, Verdict
from bota_gateway.cli.doctor.examination import examine
from bota_gateway.cli.doctor.facts import Facts, Hub
from bota_gateway.config import LogSettings, Settings
from bota_gateway.errors import ConfigError
from bota_gateway.status import logs
from bota_gateway.status.words import size

_HERE = "."
"""Stands for ``--bundle`` without a name."""


@click.command(short_help="Check everything around the gateway.")
@options.config_file
@options.socket
@options.as_json
@click.option("--scan", is_flag=True, help="Listen for recorders for 20 s, if no gateway runs.")
@click.option(
    "--bundle",
    "archive",
    type=options.A_PATH,
    is_flag=False,
    flag_value=_HERE,
    metavar="[FILE]",
    help="Write what support needs to know into an archive (tar.gz) without secrets; it says what is in it.",
)
@click.pass_context
def doctor(
    ctx: click.Context,
    config_path: Path | None,
    socket_path: Path | None,
    as_json: bool,
    scan: bool,
    archive: Path | None,
) -> None:
    """Check everything around the gateway: hub, Bluetooth, spool, cloud; and say what to do.

    Safe beside a running gateway, as root or not, without Bluetooth and without network; nothing is changed. Root sees
    more. What each check may find is in docs/doctor.md.

    \b
    Exit codes: 0 nothing fails, though there may be warnings; 1 something fails.
    """
    logs.configure(LogSettings(level="error"))  # what the parts say of themselves meanwhile is in the findings
    found = asyncio.run(_work(Hub(), config_path, socket_path, as_json=as_json, scan=scan, archive=archive))
    ctx.exit(1 if view.worst(found) is Verdict.FAILURE else 0)


async def _work(
    hub: Hub, config_path: Path | None, socket_path: Path | None, *, as_json: bool, scan: bool, archive: Path | None
) -> Sequence[Finding]:
    """All of it, the telling included: the loop may have to wait for name look-ups before it ends."""
    async with Facts(_settings(config_path), hub, socket=socket_path, scan=scan) as facts:
        found = await examine(facts)
        if as_json:
            options.print_json(view.as_json(found))
        else:
            view.show(found)
        if archive is not None:
            path = _default_name(hub.now()) if str(archive) == _HERE else archive
            texts = await bundle.collect(facts, found)
            bundle.write(path, texts, hub.now())
            _tell(path, texts, err=as_json)
    return found


def _settings(config_path: Path | None) -> Settings | ConfigError:
    try:
        return options.settings(config_path)
    except ConfigError as error:
        return error


def _default_name(now: float) -> Path:
    return Path(f"bota-gateway-doctor-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}.tar.gz")


def _tell(path: Path, texts: Mapping[str, str], *, err: bool) -> None:
    click.echo(f"{path}  {size(path.stat().st_size)}", err=err)
    for line in texts["contents.txt"].splitlines():
        click.echo(layout.wrapped(line, "  ", layout.INDENT) if line else "", err=err)
