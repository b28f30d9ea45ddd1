"""``bota-gateway sim``: parts of the demo for others to test against."""

import json
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from support.commands import run_here, run_process
from support.processes import free_port, program

STOPS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


@STOPS
async def test_the_cloud_says_where_it_is_and_stops_when_asked(number: signal.Signals) -> None:
    """One JSON line with everything a client needs; the API answers there; a signal ends it with 0."""
    async with program("sim", "cloud", "--json", "--register", "PIN0000001", "--unbound", "PIN0000002") as cloud:
        where = json.loads(await cloud.line('"control"'))
        assert set(where) == {"api_base", "s3_host", "api_key", "control"}
        request = urllib.request.Request(  # noqa: S310 - loopback, as it said
            f"{where['api_base']}/devices", headers={"Authorization": f"Bearer {where['api_key']}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: ASYNC210, S310 - it is another process
            devices = json.load(answer)["data"]
        bound = {one["serial_number"]: one["end_user_id"] is not None for one in devices}
        assert bound == {"PIN0000001": True, "PIN0000002": False}
        cloud.signal(number)
        assert await cloud.end() == 0


async def test_the_cloud_tells_people_how_to_configure_the_gateway() -> None:
    """What it prints can be pasted into a configuration."""
    async with program("sim", "cloud") as cloud:
        await cloud.line("BOTA_GATEWAY_CLOUD__API_KEY=")
        assert "[cloud]" in cloud.lines
        assert any(line.startswith('api_base = "http://127.0.0.1:') for line in cloud.lines)


async def test_the_cloud_keeps_its_state_in_a_directory(tmp_path: Path) -> None:
    """A second life has the same key and devices."""
    keys = []
    for _ in range(2):
        async with program("sim", "cloud", "--json", "--directory", tmp_path / "cloud") as cloud:
            keys.append(json.loads(await cloud.line('"control"'))["api_key"])
            cloud.signal(signal.SIGTERM)
            assert await cloud.end() == 0
    assert keys[0] == keys[1]


@STOPS
async def test_recorders_come_on_the_air_and_stop_when_asked(number: signal.Signals) -> None:
    """They say where their adapter is once it can be used, and a signal ends them with 0."""
    where = f"tcp-server:127.0.0.1:{free_port()}"
    async with program(
        "sim", "recorder", "--transport", f"virtual:{where}", "--recorders", "3", "--bytes", "99"
    ) as sim:
        assert await sim.line("on the air") == f"recorders on the air: 3; the adapter is at {where}"
        sim.signal(number)
        assert await sim.end() == 0
    assert sim.lines[1:] == []


def test_a_taken_port_is_said() -> None:
    """Exit 1 with the reason and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = run_process("sim", "cloud", "--port", str(port))
    assert told.code == 1
    assert "[sim_no_transport]" in told.err


@pytest.mark.parametrize(
    "where", ["foo", "usb:", "tcp-client:nowhere", "hci-socket:99", "virtual:foo", "virtual:tcp-server:127.0.0.1:x"]
)
def test_a_transport_that_is_none_is_said(where: str) -> None:
    """Whatever goes wrong below it, the answer is one sentence and what to check."""
    told = run_process("sim", "recorder", "--transport", where)
    assert (told.code, "Traceback" in told.err) == (1, False)
    assert f"{where.removeprefix('virtual:')} can't be opened" in told.err
    assert "[sim_no_transport]" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sim", "recorder"), "--transport"),
        (("sim", "recorder", "--transport", "usb:0", "--recorders", "2"), "one recorder"),
        (("sim", "recorder", "--transport", "virtual:x", "--fault", "no_such"), "no_such"),
        (("sim", "recorder", "--transport", "virtual:x", "--fault", "drop,where=3"), "where"),
        (("sim", "cloud", "--profile", "f"), "--profile"),
    ],
)
def test_mistakes_of_usage_are_named(arguments: tuple[str, ...], said: str) -> None:
    """They exit 2 before anything starts."""
    told = run_here(*arguments)
    assert (told.code, told.out) == (2, "")
    assert said in told.err
