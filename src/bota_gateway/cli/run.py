"""``bota-gateway run``: the daemon in the foreground."""

import asyncio
import signal
from pathlib import Path

import click

from bota_gateway import config_loading
from bota_gateway.cli import options
from bota_gateway.daemon import Gateway
from bota_gateway.status import logs
from bota_gateway.status.story import Story


@click.command(short_help="Run the gateway in the foreground.")
@options.config_file
def run(config_path: Path | None) -> None:
    """Run the gateway in the foreground, as its systemd service does. Stop it with Ctrl-C or SIGTERM.

    \b
    Exit codes: 0 stopped as asked, 2 bad configuration, 3 durability can't be kept.
    """
    settings = options.settings(config_path)
    key = config_loading.api_key(settings)
    story = Story()
    logs.configure(settings.log, story=story)
    asyncio.run(_until_stopped(Gateway(settings, key, story=story)))


async def _until_stopped(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, gateway.stop)
    await gateway.run()
