"""``bota-gateway config``: the settings in force, and whether they can be used."""

from pathlib import Path

import click

from bota_gateway.cli import options
from bota_gateway.config import keys
from bota_gateway.status.words import MISSING


@click.command(short_help="Check the configuration and show the settings in force.")
@options.config_file
@options.as_json
def config(config_path: Path | None, as_json: bool) -> None:
    """Check the configuration and show every setting in force; the API key stays hidden.

    Exits 2 and names the key when something in the file or the environment is wrong.
    """
    settings = options.settings(config_path)
    table = settings.model_dump(mode="json")
    if as_json:
        options.print_json(table)
        return
    for section, key in keys():
        value = table[section][key]
        click.echo(f"{section}.{key} = {MISSING if value is None else value}")
