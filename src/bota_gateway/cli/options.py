"""Options that several commands share."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bota_gateway import config_loading
from bota_gateway.config import Settings
from bota_gateway.status.words import json_text

INSTALLED_CONFIG = Path("/etc/bota-gateway/config.toml")
"""Where the installer puts the configuration."""

A_PATH = click.Path(path_type=Path, readable=False)
"""Whatever was typed: who uses it says what is wrong with it and what to do, which click would not."""

config_file = click.option(
    "--config",
    "config_path",
    type=A_PATH,
    help=f"Configuration file; {INSTALLED_CONFIG} if it exists, else defaults.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of a table.")
socket = click.option("--socket", "socket_path", type=A_PATH, help="The daemon's socket; from the configuration.")

watch = click.option(
    "--watch",
    "every_s",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(0.2, 3600),
    metavar="[SECONDS]",
    help="Show it again every 2 seconds, or as often as said, until Ctrl-C.",
)


def shown(show: Callable[[], None], every_s: float | None) -> None:
    """Show something once, or again and again on a cleared screen."""
    while every_s is not None:
        click.clear()  # does nothing where no terminal is
        show()
        time.sleep(every_s)
    show()


def age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """A span such as 90s, 5m, 2h or 3d, in seconds: for ``callback``; what is none is refused with examples."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no age; write 90s, 5m, 2h or 3d.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]


def settings(config_path: Path | None) -> Settings:
    """The settings of the named file, else of the installed one, else the defaults."""
    if config_path is None and _may_be_there(INSTALLED_CONFIG):
        config_path = INSTALLED_CONFIG
    return config_loading.load(config_path)


def _may_be_there(path: Path) -> bool:
    """Also where its directory is closed to this user: to read it then says what to do."""
    try:
        return path.exists()
    except PermissionError:
        return True


def socket_of(config_path: Path | None, socket_path: Path | None) -> Path:
    """The daemon's socket: as named, else as configured."""
    return socket_path or settings(config_path).status.socket


def print_json(answer: Any) -> None:
    """One JSON document, indented: read by people too."""
    click.echo(json_text(answer, indent=2))
