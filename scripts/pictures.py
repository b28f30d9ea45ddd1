"""Makes the pictures of every screen, from one real run with simulated recorders.

python scripts/pictures.py [NAME...]   writes docs/pictures/*; only those named if any are

The scene: a recorder that is done, one whose long recording is on its way, one that belongs to nobody, one that is low
on battery, and one that was here and has gone.
"""

import asyncio
import io
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from playwright.async_api import Page, ViewportSize, async_playwright
from rich.console import Console
from rich.text import Text

from bota_gateway.cli.demo import without_fonts
from bota_gateway.model import Custody
from support.browser import LAUNCH
from support.commands import run_beside
from support.world import Running, World, speech, wall

PICTURES: Final = Path(__file__).resolve().parent.parent / "docs" / "pictures"
COLUMNS: Final = 88
"""Wide enough for the widest table, narrow enough to be read on a page."""
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "status": ("status",),
    "recorders": ("recorders",),
    "recordings": ("recordings",),
    "timeline": ("timeline", "00000001"),
    "why": ("why", "BOTAPIN003"),
    "tail": ("tail", "--no-follow", "--lines", "16", "--level", "info"),
    "stats": ("stats",),
    "top": ("top", "--once"),
}
SCREENS: Final[dict[str, ViewportSize]] = {
    "page": {"width": 1180, "height": 820},
    "page-phone": {"width": 390, "height": 844},
}


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Running]:
    """Five recorders and a gateway, at the moment when a transfer is under way."""
    async with World.open(directory, bytes_per_s=150_000) as world:
        world.cloud.devices.register("BOTAPIN002", "eu_wearer")
        await world.recorder("BOTAPIN001", speech(1, size=412_000))
        await world.recorder("BOTAPIN003", speech(3, size=96_000), end_user=None)
        low = await world.recorder("BOTAPIN004", speech(4))
        low.condition.battery_percent = 9
        gone = await world.recorder("BOTAPIN005", speech(5, size=31_000))
        ahead = wall() - time.time()  # the commands' clock goes with the hub's
        hub = world.gateway(
            status={"listen": "127.0.0.1:0"}, cloud={"requests_per_minute": 100, "upload_urls_per_minute": 30}
        )
        with patch("time.time", lambda real=time.time: real() + ahead):
            async with hub as running:
                await running.all_in(Custody.CONFIRMED, Custody.PARKED, count=3)
                await gone.stop()
                world.air.set_pace(24_000)
                await world.recorder("BOTAPIN002", speech(2, size=1_400_000), registered=False)
                await running.all_in(Custody.CONFIRMED, Custody.PARKED, Custody.RECEIVING, count=4)
                await asyncio.sleep(12)  # real seconds, so that the bar has moved
                yield running


async def picture_of_command(running: Running, name: str) -> None:
    """What a terminal shows, as an SVG."""
    told = await run_beside(*COMMANDS[name], "--socket", running.socket, terminal=True)
    if told.code != 0:
        raise SystemExit(f"{name}: {told.err}")
    console = Console(width=COLUMNS, record=True, force_terminal=True, file=io.StringIO())
    typed = " ".join(COMMANDS[name])
    console.print(Text.from_ansi(f"$ bota-gateway {typed}\n{told.out.rstrip()}"))
    (PICTURES / f"{name}.svg").write_text(without_fonts(console.export_svg(title=f"bota-gateway {name}")), "utf-8")


async def pictures_of_page(running: Running, names: set[str]) -> None:
    """What a browser shows: on a desk by day, on a phone by night, and with one recording opened."""
    served = running.gateway.page.address if running.gateway.page else None
    if served is None:
        raise SystemExit("the page is not served")
    host, port = served
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**LAUNCH)
        for name, size in SCREENS.items():
            page = await browser.new_page(viewport=size, color_scheme="dark" if name == "page-phone" else "light")
            await page.goto(f"http://{host}:{port}/")
            await page.locator("#recorders tr").nth(4).wait_for()
            await page.get_by_role("progressbar").first.wait_for()
            if name in names:
                await page.screenshot(path=PICTURES / f"{name}.png")
            if name == "page" and "page-recording" in names:
                await _recording(page)
        await browser.close()


async def _recording(page: Page) -> None:
    await page.get_by_role("button", name="Story of recording 00000003").click()
    await page.get_by_role("dialog").wait_for()
    await page.screenshot(path=PICTURES / "page-recording.png")
    await page.keyboard.press("Escape")


async def main(wanted: set[str]) -> None:
    """Set the scene once and take the pictures."""
    every = {*COMMANDS, *SCREENS, "page-recording"}
    if unknown := wanted - every:
        raise SystemExit(f"There is no picture of {', '.join(sorted(unknown))}; there are: {', '.join(sorted(every))}")
    names = wanted or every
    PICTURES.mkdir(exist_ok=True)
    os.environ["COLUMNS"] = str(COLUMNS)
    os.environ["TZ"] = "UTC"
    with tempfile.TemporaryDirectory() as directory:
        async with scene(Path(directory)) as running:
            for name in sorted(names & COMMANDS.keys()):
                await picture_of_command(running, name)
            if names - COMMANDS.keys():
                await pictures_of_page(running, names)
    print(f"wrote {', '.join(sorted(names))} to docs/pictures")


if __name__ == "__main__":
    asyncio.run(main(set(sys.argv[1:])))
