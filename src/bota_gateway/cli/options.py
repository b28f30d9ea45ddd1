"""Options that several commands share."""

from pathlib import Path
from typing import Any

import click

from bota_gateway import config_loading
from bota_gateway.config import Settings
from bota_gateway.status.words import json_text

INSTALLED_CONFIG = Path("/etc/bota-gateway/config.toml")
"""Where the installer puts the configuration."""

config_file = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help=f"Configuration file; {INSTALLED_CONFIG} if it exists, else defaults.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of a table.")
socket = click.option(
    "--socket", "socket_path", type=click.Path(path_type=Path), help="The daemon's socket; from the configuration."
)


def settings(config_path: Path | None) -> Settings:
    """The settings of the named file, else of the installed one, else the defaults."""
    if config_path is None and INSTALLED_CONFIG.exists():
        config_path = INSTALLED_CONFIG
    return config_loading.load(config_path)


def socket_of(config_path: Path | None, socket_path: Path | None) -> Path:
    """The daemon's socket: as named, else as configured."""
    return socket_path or settings(config_path).status.socket


def print_json(answer: Any) -> None:
    """One JSON document, indented: read by people too."""
    click.echo(json_text(answer, indent=2))
