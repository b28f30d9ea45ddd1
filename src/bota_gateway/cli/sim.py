"""``bota-gateway sim``: the simulated recorders and the emulated cloud alone, for others to test against."""

import asyncio
import json
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path

import click

from bota_gateway.cli import options
from bota_gateway.config import LogSettings
from bota_gateway.errors import GatewayError
from bota_gateway.status import logs

VIRTUAL = "virtual:"
"""Prefix of a transport that offers a hub's adapter on a virtual radio, instead of using a controller."""


@click.group(short_help="Run simulated recorders or an emulated cloud alone.")
def sim() -> None:
    """Run simulated recorders or an emulated cloud alone, for others to test against.

    They are what the demo uses, and can misbehave on command: docs/simulators.md.
    """


@sim.command()
@click.option("--profile", type=click.Choice(["d1", "d2", "e"]), default="e", show_default=True, help="API generation.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API; 0 picks a free one.")
@click.option("--s3-port", type=click.IntRange(0, 65535), default=0, help="Port of the bucket; 0 picks a free one.")
@click.option("--directory", type=click.Path(path_type=Path), help="Keep state and objects there across restarts.")
@click.option("--register", "serials", multiple=True, metavar="SERIAL", help="A recorder of the project; repeatable.")
@click.option("--unbound", "unbound", multiple=True, metavar="SERIAL", help="One that is bound to nobody; repeatable.")
@click.option("--seed", type=int, default=1, show_default=True, help="Makes ids, key and faults repeatable.")
@options.as_json
def cloud(
    profile: str,
    port: int,
    s3_port: int,
    directory: Path | None,
    serials: Sequence[str],
    unbound: Sequence[str],
    seed: int,
    as_json: bool,
) -> None:
    """Run the emulated cloud on loopback: the Bota API, and a bucket that verifies signatures.

    It says where it is and how to configure the gateway for it, and runs until Ctrl-C.
    """

    async def serve() -> None:
        from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud  # noqa: PLC0415 - needs the extra "sim"

        stop = _stop_signal()
        chosen = CloudOptions(api_port=port, s3_port=s3_port, directory=directory)
        async with EmulatedCloud(profile, seed=seed, options=chosen) as emulated:
            for serial in serials:
                emulated.devices.register(serial)
            for serial in unbound:
                emulated.devices.register(serial, end_user=None)
            where = {
                "api_base": emulated.api_base,
                "s3_host": emulated.s3_host,
                "api_key": emulated.api_key,
                "control": emulated.control_base,
            }
            if as_json:
                click.echo(json.dumps(where))
            else:
                click.echo(f"control: {emulated.control_base}\n\n# for the gateway's configuration:\n[cloud]")
                click.echo(f'api_base = "{emulated.api_base}"\ns3_hosts = ["{emulated.s3_host}"]')
                click.echo(f"# and in its environment: BOTA_GATEWAY_CLOUD__API_KEY={emulated.api_key}")
            await stop.wait()

    _run(serve())


@sim.command()
@click.option(
    "--transport",
    required=True,
    metavar="WHERE",
    help="A controller in bumble's words, such as usb:0; or virtual:tcp-server:127.0.0.1:9100.",
)
@click.option("--serial", default="BOTAPIN001", show_default=True, help="Serial of the (first) recorder.")
@click.option("--recorders", type=click.IntRange(1, 50), default=1, show_default=True, help="How many; virtual only.")
@click.option("--rate", type=click.FloatRange(1, 5000), default=60.0, show_default=True, metavar="KB/S", help="Pace.")
@click.option(
    "--recording",
    "files",
    multiple=True,
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="A file to hold as a recording; repeatable.",
)
@click.option("--bytes", "made", multiple=True, type=click.IntRange(1), help="A made-up recording of this length.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="Misbehave, such as drop,at=100; repeatable.")
@click.option("--seed", type=int, default=1, show_default=True, help="Makes file ids and faults repeatable.")
def recorder(
    transport: str,
    serial: str,
    recorders: int,
    rate: float,
    files: Sequence[Path],
    made: Sequence[int],
    faults: Sequence[str],
    seed: int,
) -> None:
    """Run simulated recorders: on a real controller, or on a virtual radio that a gateway in another process can use.

    Each holds the given recordings, or the demo's speech. A gateway finds those on a virtual radio with
    [radio] adapters = ["bumble:tcp-client:127.0.0.1:9100"]. Runs until Ctrl-C.

    FAULT is a kind and details, such as disconnect,at=500 or error,code=0x14,times=3; docs/faults.md has them all.
    """
    if recorders > 1 and not transport.startswith(VIRTUAL):
        raise click.UsageError("A real controller serves one recorder; use --transport virtual:... for several.")

    async def serve() -> None:
        from bota_gateway.cli import sim_recorders  # noqa: PLC0415 - needs the extra "sim"

        held = sim_recorders.recordings(files, made, seed)
        wrongs = [sim_recorders.parse_fault(text) for text in faults]
        if transport.startswith(VIRTUAL):
            where = transport.removeprefix(VIRTUAL)
            serials = _serials(serial, recorders)
            serving = sim_recorders.serve_virtual(where, serials, held, wrongs, rate * 1000, seed)
        else:
            serving = sim_recorders.serve_real(transport, serial, held, wrongs)
        task = asyncio.create_task(serving)
        stopped = asyncio.create_task(_stop_signal().wait())
        done, _ = await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for one in (task, stopped):
            one.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
        if task in done:
            task.result()

    _run(serve())


def _serials(first: str, count: int) -> list[str]:
    """The first serial and those that follow it: the digits at its end count up."""
    if count == 1:
        return [first]
    stem = first.rstrip("0123456789")
    digits = first[len(stem) :] or "1"
    return [f"{stem}{int(digits) + number:0{len(digits)}}" for number in range(count)]


def _stop_signal() -> asyncio.Event:
    """Set by Ctrl-C and SIGTERM; made before anything is said, because who reads that may stop it at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _run(serving: Coroutine[None, None, None]) -> None:
    logs.configure(LogSettings())
    try:
        asyncio.run(serving)
    except ModuleNotFoundError as missing:
        raise GatewayError(
            f"The simulators are not installed: {missing.name} is missing.",
            code="sim_not_installed",
            remedy="Install them, in a clone of the project: pip install '.[sim]'",
        ) from None
    except OSError as refused:
        raise GatewayError(
            f"The simulator can't start: {refused}.", code="sim_no_transport", remedy="Check the port or the transport."
        ) from None
