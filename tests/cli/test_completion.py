"""``bota-gateway completion`` as a shell uses it."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from bota_gateway.cli.main import cli
from bota_gateway.model import Custody
from support.commands import COMMAND, clean_environment, run_process
from support.world import World, speech

BASH = shutil.which("bash")
ZSH = shutil.which("zsh")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_script_is_printed(shell: str) -> None:
    """It names the program and its question variable, and nothing else is on standard output."""
    told = run_process("completion", shell)
    assert (told.code, told.err) == (0, "")
    assert "_BOTA_GATEWAY_COMPLETE" in told.out


def test_another_shell_is_refused_with_those_that_work() -> None:
    """A choice, not a traceback."""
    told = run_process("completion", "csh")
    assert told.code == 2
    assert "bash" in told.err


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """The printed script, sourced in a real bash, offers what begins as typed."""
    script = tmp_path / "completion"
    script.write_text(run_process("completion", "bash").out)
    for typed, expected in [("rec", {"recorders", "recordings"}), ("status --js", {"--json"}), ("pause ra", {"radio"})]:
        words = f"bota-gateway {typed}".split(" ")
        ask = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _bota_gateway_completion bota-gateway"
        done = subprocess.run(  # noqa: S603 - our own words
            [str(BASH), "--norc", "-c", f'source {script}; {ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
            env=clean_environment(PATH=f"{COMMAND.parent}:/usr/bin:/bin"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert set(done.stdout.split()) == expected


@pytest.mark.skipif(ZSH is None, reason="zsh is not installed")
def test_zsh_completes_at_every_tab(tmp_path: Path) -> None:
    """Loaded by name, it is called each time, and does not spend the second TAB on registering itself."""
    (tmp_path / "_bota-gateway").write_text(run_process("completion", "zsh").out)
    twice = (
        f"fpath=({tmp_path}); autoload -U _bota-gateway; compdef() {{ echo registered }}; _bota-gateway; _bota-gateway"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [str(ZSH), "-f", "-c", f"{twice}; whence _bota_gateway_completion"],
        env=clean_environment(PATH="/nowhere"),  # without the program it offers nothing, and says nothing
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("_bota_gateway_completion\n", "")


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("why", ""), ["BOTAPIN001", "00000001"]),
        (("why", "BOTA"), ["BOTAPIN001"]),
        (("timeline", "0"), ["00000001"]),
        (("recordings", "--recorder", ""), ["BOTAPIN001"]),
        (("retry", ""), ["BOTAPIN001", "00000001"]),
        (("retry", "--reason", "rec"), ["recorder_unbound"]),
    ],
)
async def test_names_are_offered_as_the_gateway_knows_them(
    tmp_path: Path, typed: tuple[str, ...], expected: list[str]
) -> None:
    """Nobody types a serial or a file id on a phone."""
    async with World.open(tmp_path) as world:
        await world.recorder("BOTAPIN001", speech(1), end_user=None)
        async with world.gateway() as running:
            await running.all_in(Custody.PARKED)
            command, *before, begun = typed
            words = ["bota-gateway", command, "--socket", str(running.socket), *before]
            asking = BashComplete(cli, {}, "bota-gateway", "_BOTA_GATEWAY_COMPLETE")
            offered = await asyncio.to_thread(asking.get_completions, words[1:], begun)
    assert [one.value for one in offered] == expected


def test_without_a_gateway_nothing_is_offered(tmp_path: Path) -> None:
    """A shell is no place for an error."""
    asking = BashComplete(cli, {}, "bota-gateway", "_BOTA_GATEWAY_COMPLETE")
    assert asking.get_completions(["retry", "--socket", str(tmp_path / "none"), "--reason"], "") == []
