"""The command ``bota-gateway`` and its subcommands, each in a module of its own."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from bota_gateway.errors import ConfigError, GatewayError, SpoolError
from bota_gateway.status.words import printable

EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 2
EXIT_NOT_DURABLE = 3

_COMMANDS = {
    "run": "run",
    "demo": "demo",
    "status": "ask",
    "recorders": "ask",
    "recordings": "ask",
    "timeline": "ask",
    "stats": "stats",
    "why": "why",
    "tail": "tail",
    "top": "top",
    "retry": "ask",
    "forget": "forget",
    "pause": "pause",
    "resume": "pause",
    "export": "export",
    "fsck": "fsck",
    "doctor": "doctor.command",
    "decode": "decode",
    "config": "config",
    "completion": "completion",
    "sim": "sim",
}
"""Command -> module. Loaded when asked for, so that ``decode`` needs no radio and ``status`` answers at once."""


class _Lazy(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"bota_gateway.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("bota-gateway"), prog_name="bota-gateway")
def cli() -> None:
    """Bring the recordings of Bota recorders over Bluetooth into the cloud, and lose none.

    Try it without Bluetooth and without an account: bota-gateway demo
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: an error is one sentence, its code and the next step, never a traceback.

    Args:
        arguments: Those of the process if None.
    """
    try:
        # Outside standalone mode click gives back the code of ctx.exit() instead of exiting with it.
        sys.exit(cli(arguments, prog_name="bota-gateway", standalone_mode=False))
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except click.Abort:
        sys.exit(130)
    except GatewayError as failed:
        click.echo(printable(f"error: {failed.message} [{failed.error_code}]"), err=True)
        click.echo(printable(f"  next: {failed.next_step}"), err=True)
        sys.exit(exit_code(failed))
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough.
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def exit_code(failed: GatewayError) -> int:
    """The documented exit code for an error."""
    match failed:
        case ConfigError():
            return EXIT_BAD_CONFIGURATION
        case SpoolError():
            return EXIT_NOT_DURABLE
        case _:
            return EXIT_FAILED
