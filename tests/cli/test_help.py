"""Help of every command: there, complete, and in no need of the extras."""

import subprocess
from collections.abc import Iterator

import click
import pytest

from bota_gateway.cli.main import cli
from support.commands import COMMAND, run_here, run_process


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


COMMANDS = list(commands(cli))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) or "bare" for path, _ in COMMANDS])
def test_every_command_explains_itself(path: tuple[str, ...], command: click.Command) -> None:
    """--help says what it does, and what each of its options does."""
    told = run_here(*path, "--help")
    assert (told.code, told.err) == (0, "")
    assert told.lines[0].startswith("Usage: bota-gateway")
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{path} {parameter.name}"
            assert parameter.opts[0] in told.out


def test_the_short_form_of_help() -> None:
    """-h is what many type."""
    assert run_here("-h").out == run_here("--help").out


def test_the_version() -> None:
    """Said by the installed command."""
    assert run_process("--version").out.startswith("bota-gateway, version ")


def test_an_unknown_command_is_a_mistake_of_usage() -> None:
    """It exits 2 and says so."""
    told = run_process("recordngs")
    assert (told.code, told.out) == (2, "")
    assert "No such command 'recordngs'" in told.err


def test_who_leaves_by_ctrl_c_sees_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It exits 130, as the list of commands says and shells expect."""

    def leave(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bota_gateway.status.client.ask", leave)
    told = run_here("status", "--socket", "none")
    assert (told.code, told.out, told.err.strip()) == (130, "", "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """A pipe into head ends in silence."""
    piped = subprocess.run(  # noqa: S602 - a shell's pipe is the point
        f"{COMMAND} config | true", shell=True, capture_output=True, text=True, check=False
    )
    assert piped.stderr == ""
