"""``bota-gateway doctor`` as it is typed; and what holds for every check."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bota_gateway.cli.doctor import view
from bota_gateway.cli.doctor.bluetooth import Rfkill
from bota_gateway.cli.doctor.cases import Check, Finding, Verdict, not_checked, ok, warning
from bota_gateway.cli.doctor.examination import CHECKS, examine
from bota_gateway.cli.doctor.facts import Facts, in_thread
from bota_gateway.errors import GatewayError
from support.commands import Told, run_beside, run_here, run_process
from support.doctoring import KEY, Patient, answering, patient, problem
from support.virtual_time import virtual_time

COVERED = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_doctor*.py"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of a hub without anything: no gateway, no spool, no network, no key."""
    path = tmp_path / "config.toml"
    path.write_text(
        f'[cloud]\napi_base = "http://127.0.0.1:1/v1"\n[spool]\ndirectory = "{tmp_path / "spool"}"\n'
        f'[status]\nsocket = "{tmp_path / "status.sock"}"\n'
    )
    return path


@pytest.fixture(autouse=True)
def no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'no_bus'}")


# -- as it is typed ----------------------------------------------------------------------------------------------------


def test_it_runs_where_nothing_is(config: Path) -> None:
    """Without Bluetooth, network, key and gateway: every check says something, exit code 1, no traceback."""
    told = run_process("doctor", "--config", config)
    assert (told.code, told.err) == (1, "")
    lines = [line for line in told.lines if re.match(r"  (ok|warning|FAILURE|-) ", line)]
    assert {line.split()[1] for line in lines} == {check.name for check in CHECKS}
    assert re.fullmatch(r"\d+ ok, \d+ warnings?, \d+ failures?, \d+ not checked", told.lines[-1])
    assert not (config.parent / "spool").exists()


def test_json_says_the_same(config: Path) -> None:
    """One document for programs; nothing else on standard output."""
    told = run_process("doctor", "--config", config, "--json")
    assert (told.code, told.err) == (1, "")
    assert set(told.json) == {"version", "at", "verdict", "findings"}
    assert told.json["verdict"] == "failure"
    known = {case.code for check in CHECKS for case in check.cases()}
    for finding in told.json["findings"]:
        assert set(finding) == {"group", "check", "code", "verdict", "found", "remedy"}
        assert finding["code"] in known
        assert finding["remedy"] or finding["verdict"] in {"ok", "not_checked"}


def test_a_configuration_that_can_t_be_used_is_a_finding(config: Path) -> None:
    """Exit code 1 and not 2: the doctor itself did its work."""
    config.write_text("[cloud]\nprofil = 'e'\n")
    told = run_here("doctor", "--config", config, "--json")
    assert told.code == 1
    (found,) = [one for one in told.json["findings"] if one["check"] == "config"]
    assert "did you mean cloud.profile?" in found["found"]


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_shows_whole_words(config: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line is wider than the terminal, be it a phone's, but for a word that is longer."""
    monkeypatch.setenv("COLUMNS", str(columns))
    told = run_here("doctor", "--config", config, terminal=True)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in told.lines]
    longest_word = max(len(word) for line in plain for word in line.split())
    assert max(map(len, plain)) <= max(columns, longest_word + len("  FAILURE  permission  "))
    assert any(len(line) > columns // 2 for line in plain)


async def test_it_is_safe_beside_a_gateway(config: Path) -> None:
    """The gateway is asked over its socket, by command line as by configuration."""
    async with answering(config.parent / "status.sock", problems=[problem("disk", "spool_write_failed")]):
        told: Told = await run_beside("doctor", "--config", config, "--json")
    codes = {one["code"] for one in told.json["findings"]}
    assert {"daemon_trouble", "spool_trouble", "recorders_none"} <= codes


def test_the_exit_code_tells_failures_from_warnings() -> None:
    """A script acts on failures; what was not checked is neither."""

    def worst(*verdicts: Verdict) -> Verdict:
        return view.worst([Finding("G", "c", "c_x", verdict, "", "") for verdict in verdicts])

    assert worst() is worst(Verdict.OK, Verdict.NOT_CHECKED) is Verdict.OK
    assert worst(Verdict.WARNING, Verdict.OK, Verdict.NOT_CHECKED) is Verdict.WARNING
    assert worst(Verdict.OK, Verdict.FAILURE, Verdict.WARNING) is Verdict.FAILURE


# -- what holds for every check ----------------------------------------------------------------------------------------


class _Hanging(Check):
    """Finds something, and then waits for ever."""

    group = "Test"
    name = "hanging"
    SOME = ok("something")
    limit_s = 5.0

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:  # noqa: ARG002 - as every check
        yield self.SOME()
        await asyncio.Event().wait()


class _Broken(Check):
    """Finds something, and then a defect of ours."""

    group = "Test"
    name = "broken"
    SOME = warning("something of {key}", "act")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:  # noqa: ARG002 - as every check
        yield self.SOME(key=KEY)
        raise ZeroDivisionError


class _Fine(Check):
    """Finds nothing wrong."""

    group = "Test"
    name = "fine"
    WELL = not_checked("well")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:  # noqa: ARG002 - as every check
        yield self.WELL()


@virtual_time
async def test_a_check_that_hangs_or_breaks_stops_no_other(tmp_path: Path) -> None:
    """What it had found is kept; its limit is its own; the order stays."""
    began = asyncio.get_running_loop().time()
    hub: Patient = patient(tmp_path)
    found = await hub.look(_Hanging, _Hanging, _Broken, _Fine)
    assert [one.code for one in found] == [
        *("hanging_some", "hanging_timed_out", "hanging_some", "hanging_timed_out"),
        *("broken_some", "broken_broken", "fine_well"),
    ]
    assert "ZeroDivisionError" in found[5].found
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)


@virtual_time
async def test_a_disk_that_never_answers_costs_one_check(tmp_path: Path) -> None:
    """A read that hangs in the kernel can't be cancelled; the check ends all the same, and the others are made."""
    hub = patient(tmp_path)
    never = hub.sys.root / "class/rfkill/rfkill0/type"
    never.unlink()
    os.mkfifo(never)
    try:
        assert await hub.codes(Rfkill, _Fine) == ["rfkill_timed_out", "fine_well"]
    finally:
        os.close(os.open(never, os.O_WRONLY))  # lets the thread go


def test_a_thread_that_never_ends_keeps_no_process(tmp_path: Path) -> None:
    """The command ends although a thread of it hangs."""
    os.mkfifo(tmp_path / "never")
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from bota_gateway.cli.doctor.facts import in_thread\n"
        "async def main():\n"
        "    await asyncio.wait_for(in_thread(Path(sys.argv[1]).read_text), 0.01)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(  # noqa: S603 - the program above
        [sys.executable, "-c", program, tmp_path / "never"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, "TimeoutError" in ended.stderr) == (1, True)


async def test_what_a_thread_brings_is_given_on() -> None:
    """Its answer, or its error."""
    assert await in_thread(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_no_finding_shows_a_credential(tmp_path: Path) -> None:
    """Whatever its words are made of."""
    hub = patient(tmp_path)
    found = await hub.look(_Broken)
    assert found[0].found == "something of [redacted]"
    error = GatewayError(f"refused {KEY}.", remedy="no")
    case = warning("{message} [{code}]", "{remedy}")
    assert case.of(error).found == "refused [redacted] [gateway_error]"


async def test_facts_end_with_their_block(tmp_path: Path) -> None:
    """What is still asked then is cancelled."""
    hub = patient(tmp_path)
    async with Facts(hub.settings(), hub.hub) as facts:
        (one,) = await examine(facts, [_Fine])
        await facts.status()
    assert one.verdict is Verdict.NOT_CHECKED
    assert all(task.done() for task in asyncio.all_tasks() if task is not asyncio.current_task())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_case_is_tested(check: type[Check]) -> None:
    """Each is brought about somewhere in these tests, and says what to do if there is something to do."""
    assert check.__doc__
    for case in check.cases():
        assert f'"{case.code}"' in COVERED, case.code
        assert case.remedy or case.verdict in {Verdict.OK, Verdict.NOT_CHECKED}
        assert not re.search(r"[.]$", case.says), case.code


def test_codes_and_names_are_unique() -> None:
    """A code in a support request leads to one case."""
    codes = [case.code for check in CHECKS for case in check.cases()]
    assert len(set(codes)) == len(codes)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
