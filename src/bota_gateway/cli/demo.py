"""``bota-gateway demo``: the main job, end to end, with nothing but this machine.

The daemon is the real one; its radio is virtual, its recorders and its cloud are simulated. Everything between is as on
a hub: bleak's classes, GATT bytes, SQLite on disk, HTTP over sockets, signatures verified by the bucket.
"""

import asyncio
import hashlib
import re
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from bota_gateway.cli.demo_view import Row, View, result_table
from bota_gateway.config import LogSettings
from bota_gateway.daemon import Gateway
from bota_gateway.errors import GatewayError
from bota_gateway.spool import Happened
from bota_gateway.status import logs
from bota_gateway.status.story import Story
from bota_gateway.status.words import duration, size
from bota_gateway.upload.setbacks import Why

if TYPE_CHECKING:
    from bota_gateway.cli.demo_world import World

LOOK_EVERY_S = 0.125
"""How often the view is renewed: quick enough to look alive."""
PLAIN_WIDTH = 120
"""Columns of the table where no terminal says how many it has."""
GIVE_UP_S = 600.0
"""A demo that takes longer is broken, and says so instead of waiting for ever."""


@dataclass(frozen=True)
class _Options:
    recorders: int
    bytes_per_s: float
    seed: int
    keep_running: bool
    plain: bool
    picture: bool


@click.command(short_help="Run the main job without Bluetooth and without an account.")
@click.option("--recorders", type=click.IntRange(1, 8), default=3, show_default=True, help="How many recorders.")
@click.option(
    "--rate",
    type=click.FloatRange(5, 2000),
    default=60.0,
    show_default=True,
    metavar="KB/S",
    help="Pace of each link; 30 to 45 is a good real link, 80 an excellent one.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Makes ids, faults and jitter repeatable.")
@click.option("--keep-running", is_flag=True, help="Stay up afterwards, so that you can ask the daemon.")
@click.option("--plain", is_flag=True, help="No colour and no moving lines, for logs.")
@click.option("--picture", type=click.Path(path_type=Path), hidden=True, help="Save what was shown as an SVG.")
@click.pass_context
def demo(
    ctx: click.Context, recorders: int, rate: float, seed: int, keep_running: bool, plain: bool, picture: Path | None
) -> None:
    """Run the main job end to end: recorders are found, their recordings pulled, spooled, uploaded, deleted there.

    Exits 0 only if every recording arrived in the bucket once, bit-identical, and was then deleted on its recorder.
    """
    options = _Options(
        recorders, rate * 1000, seed, keep_running, plain or not sys.stdout.isatty(), picture is not None
    )
    console = _console(options)
    try:
        good = asyncio.run(_demo(console, options))
    except ModuleNotFoundError as missing:
        raise GatewayError(
            f"The simulators are not installed: {missing.name} is missing.",
            code="demo_no_simulators",
            remedy="Install them, in a clone of the project: pip install '.[sim]'",
        ) from None
    if picture is not None:
        picture.write_text(without_fonts(console.export_svg(title="bota-gateway demo")), "utf-8")
    ctx.exit(0 if good else 1)


def _console(options: "_Options") -> Console:
    """Coloured where a terminal is and the environment (NO_COLOR) does not refuse it; a picture in any case."""
    return Console(
        no_color=False if options.picture else options.plain or None,
        force_terminal=True if options.picture else None,
        highlight=False,
        record=options.picture,
        width=PLAIN_WIDTH if options.plain else None,
    )


def without_fonts(svg: str) -> str:
    """The picture without the fonts that it would fetch from elsewhere: any monospaced one will do."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


async def _demo(console: Console, options: "_Options") -> bool:
    from bota_gateway.cli.demo_world import World  # noqa: PLC0415 - needs the extra "sim"

    with tempfile.TemporaryDirectory(prefix="bota-gateway-demo-") as temporary:
        directory = Path(temporary)
        with (directory / "gateway.log").open("w") as log_file:
            story = Story()
            logs.configure(LogSettings(format="console"), log_file, story)
            async with World.open(directory, options.recorders, options.bytes_per_s, options.seed) as world:
                return await _run(console, options, world, story)


async def _run(console: Console, options: "_Options", world: "World", story: Story) -> bool:
    rows = world.rows()
    console.print(
        f"{len(world.recorders)} simulated recorders, all advertising one name, hold {len(rows)} recordings "
        f"({size(sum(row.size_bytes for row in rows))}). Each link gives {size(options.bytes_per_s)}/s."
    )
    if not options.picture:
        console.print(f"The daemon's log: {world.directory / 'gateway.log'}\n", soft_wrap=True)
    gateway = Gateway(
        world.settings,
        world.key,
        adapters=[world.adapter],
        clock_is_trusted=lambda: True,
        seed=options.seed,
        story=story,
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.run())
        await gateway.ready.wait()
        with View(console, plain=options.plain, picture=options.picture) as view:
            in_time = await _watch(gateway, rows, view)
        for row in rows:
            await _read_back(gateway, row)
            world.look_at_cloud(row)
        console.print(result_table(rows, console.width))
        good = _verdict(console, rows, loop.time() - began, in_time=in_time)
        if options.keep_running:
            await _stay(console, world, rows[0].file_id)
        gateway.stop()
    return good


async def _watch(gateway: Gateway, rows: list[Row], view: View) -> bool:
    """Show how far things are until every recording was deleted on its recorder; False when it takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GIVE_UP_S
    began = loop.time()
    while loop.time() < deadline:
        await _look(gateway, rows)
        done = sum(row.finished for row in rows)
        view.show(rows, f"{done} of {len(rows)} recordings are in the cloud and deleted, {loop.time() - began:.0f} s")
        if done == len(rows):
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return False


async def _look(gateway: Gateway, rows: list[Row]) -> None:
    held = {(one.key.serial, one.key.file_id): one for one in await gateway.spool.recordings()}
    links = {(link.serial, link.file_id): link for link in gateway.links}
    for row in rows:
        if (one := held.get((row.serial, row.file_id))) is not None:
            row.state, row.cloud_id = one.state, one.cloud_id
            # That a digest is being compared is no set-back, only the way the cloud takes its time.
            row.waiting = None if one.waiting_for == Why.VERIFYING else one.waiting_detail
        if (link := links.get((row.serial, row.file_id))) is not None:
            row.received_bytes, row.bytes_per_s = link.received_bytes, link.rate


async def _read_back(gateway: Gateway, row: Row) -> None:
    """Digest of the bytes that the spool holds, read back from the disk; not the digest it wrote down."""
    for one in await gateway.spool.recordings(serial=row.serial):
        if one.key.file_id != row.file_id or one.sha256 is None:
            continue
        digest = hashlib.sha256()
        async for piece in gateway.spool.read_audio(one.id):
            digest.update(piece)
        row.spool_sha256 = digest.hexdigest()
        for entry in await gateway.spool.timeline(one.id):
            if entry.happened == Happened.CAPTURED:
                row.bytes_per_s = float(entry.detail["bytes_per_s"] or 0)


def _verdict(console: Console, rows: list[Row], took_s: float, *, in_time: bool) -> bool:
    bad = [row for row in rows if not row.holds]
    if not bad:
        console.print(
            f"\nAll {len(rows)} recordings arrived once, bit-identical, and were then deleted on their recorders, "
            f"in {duration(took_s)}."
        )
        return True
    for row in bad:
        console.print(f"FAILED: {row.serial} {row.file_id} is {row.state}: {row.waiting or 'see the table'}")
    if not in_time:
        console.print(f"Gave up after {duration(GIVE_UP_S)}.")
    return False


async def _stay(console: Console, world: "World", file_id: str) -> None:
    socket = world.settings.status.socket
    # scripts/demo installs into the clone, where no PATH leads.
    program = "bota-gateway" if shutil.which("bota-gateway") else sys.argv[0]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    console.print("\nThe daemon keeps running. Ask it from another terminal, and end with Ctrl-C here:", soft_wrap=True)
    for command in ("status", "recorders", "recordings", f"timeline {file_id}", "top"):
        console.print(f"  {program} {command} --socket {socket}", soft_wrap=True)
    await stop.wait()
