"""The status page in a real browser: what a technician sees, on a phone and on a desk, by day and by night."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from bota_gateway.model import Custody
from support.browser import CHROMIUM, LAUNCH
from support.world import Running, World, speech

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

BOUND, UNBOUND = "BOTAPIN001", "BOTAPIN002"
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(**LAUNCH)
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def opened(running: Running, **options: Any) -> AsyncIterator[Page]:
    """The page, in a browser that has seen nothing before; what it logs as an error fails the test."""
    page_server = running.gateway.page
    assert page_server is not None
    await page_server.served.wait()
    assert page_server.address is not None
    host, port = page_server.address
    wrong: list[str] = []

    def is_foreign(url: str) -> bool:
        return not url.startswith((f"http://{host}:{port}/", "data:"))

    async with browser() as started:
        context = await started.new_context(**options)
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: wrong.append(asked.url) if is_foreign(asked.url) else None)
        await page.goto(f"http://{host}:{port}/")
        yield page
    assert wrong == []


@asynccontextmanager
async def hub(tmp_path: Path, **status: Any) -> AsyncIterator[tuple[World, Running]]:
    """A gateway with one recording done and one parked."""
    async with World.open(tmp_path) as world:
        await world.recorder(BOUND, speech(1, size=14_400))
        await world.recorder(UNBOUND, speech(2), end_user=None)
        async with world.gateway(status={"listen": "127.0.0.1:0", **status}) as running:
            await running.all_in(Custody.CONFIRMED, Custody.PARKED, count=2)
            yield world, running


async def test_it_says_health_and_why_and_what_to_do(tmp_path: Path) -> None:
    """One word, recorders, and what needs a human with its remedy on a click."""
    async with hub(tmp_path) as (_world, running), opened(running) as page:
        await expect(page.locator("#word")).to_have_text("attention")
        await expect(page.locator("#summary")).to_contain_text("1 parked")
        await expect(page.locator("#recorders tr")).to_have_count(2)
        await page.get_by_role("button", name="Story of recording 00000002").click()
        await expect(page.get_by_role("dialog")).to_contain_text("[recorder_unbound]")
        await expect(page.get_by_role("dialog")).to_contain_text("Bind it in the dashboard")
        await expect(page.locator("#timeline li").first).to_contain_text("listed")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_what_is_done_is_shown_when_asked(tmp_path: Path) -> None:
    """Open ones at first, all by the filter."""
    async with hub(tmp_path) as (_world, running), opened(running) as page:
        await expect(page.locator("#recordings tr")).to_have_count(1)
        await page.get_by_label("Show").select_option("all")
        await expect(page.locator("#recordings tr")).to_have_count(2)
        await expect(page.locator("#recordings")).to_contain_text("14.4 kB")


async def test_what_was_forgotten_by_hand_is_a_list_of_its_own(tmp_path: Path) -> None:
    """It needs nobody and is not open, and can be looked at when asked."""
    async with hub(tmp_path) as (_world, running):
        assert (await running.ask("forget", "00000002", "--yes")).code == 0
        async with opened(running) as page:
            await expect(page.locator("#word")).to_have_text("ok")
            await expect(page.locator("#summary")).to_contain_text("1 forgotten by hand")
            await expect(page.locator("#recordings")).to_contain_text("None.")
            await page.get_by_label("Show").select_option("forgotten_by_hand")
            await expect(page.locator("#recordings")).to_contain_text("[forgotten_by_hand]")
            await page.get_by_label("Show").select_option("parked")
            await expect(page.locator("#recordings")).to_contain_text("None.")


async def test_progress_moves_without_a_reload(tmp_path: Path) -> None:
    """A transfer under way shows with its bar, and is gone when it is done; the new recording is in the list."""
    async with (
        World.open(tmp_path) as world,
        world.gateway(status={"listen": "127.0.0.1:0"}) as running,
        opened(running) as page,
    ):
        await expect(page.locator("#moving")).to_have_text("Nothing.")
        world.air.set_pace(40_000)
        await world.recorder(BOUND, speech(7, size=160_000))
        await expect(page.get_by_role("progressbar").first).to_be_visible()
        await expect(page.locator("#moving")).to_contain_text("receiving 00000007")
        await expect(page.locator("#story")).to_contain_text("safe on disk")
        await expect(page.locator("#moving")).to_have_text("Nothing.", timeout=60_000)


async def test_a_gateway_that_stops_is_seen(tmp_path: Path) -> None:
    """A page that shows old figures says that they are old."""
    async with World.open(tmp_path) as world, browser() as started:
        page = await started.new_page()
        async with world.gateway(status={"listen": "127.0.0.1:0"}) as running:
            assert running.gateway.page is not None
            await running.gateway.page.served.wait()
            host, port = running.gateway.page.address or ("", 0)
            await page.goto(f"http://{host}:{port}/")
            await expect(page.locator("#word")).to_have_text("ok")
            await expect(page.get_by_role("alert")).to_be_hidden()
        await expect(page.get_by_role("alert")).to_be_visible()


async def test_what_a_recorder_sends_is_text_and_never_markup(tmp_path: Path) -> None:
    """A name over the air can't put a script or an element into a technician's browser."""
    async with World.open(tmp_path) as world, world.gateway(status={"listen": "127.0.0.1:0"}) as running:
        await world.recorder(BOUND, speech(1), end_user=None)
        await running.all_in(Custody.PARKED)
        (row,) = await running.gateway.spool.recordings()
        await running.gateway.spool.retry(row.id)
        await running.gateway.spool.park(
            row.id, code="recorder_unbound", detail="<img src=x onerror=alert(1)><b>bold</b>"
        )
        async with opened(running) as page:
            await expect(page.locator("#recordings")).to_contain_text("<b>bold</b>")
            assert await page.locator("#recordings img, #recordings b").count() == 0


async def test_it_fits_a_phone_and_a_dark_room(tmp_path: Path) -> None:
    """Nothing is wider than the screen, text is large enough, and the ground is dark where the phone asks for it."""
    async with hub(tmp_path) as (_world, running), opened(running, viewport=PHONE, color_scheme="dark") as page:
        await expect(page.locator("#recorders tr")).to_have_count(2)
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in re.findall(r"\d+", ground)) < 60


async def test_a_screen_reader_finds_its_way(tmp_path: Path) -> None:
    """Landmarks, headings, named columns and named buttons; health is announced when it changes."""
    async with hub(tmp_path) as (_world, running), opened(running) as page:
        await expect(page.get_by_role("main")).to_have_count(1)
        await expect(page.get_by_role("heading", name="Recorders", exact=True)).to_be_visible()
        await expect(page.get_by_role("columnheader", name="Battery")).to_be_visible()
        await expect(page.get_by_role("button", name=f"Why: recorder {BOUND}")).to_be_visible()
        await expect(page.get_by_role("status")).to_contain_text("attention")
        unnamed = await page.locator("button, select, input").evaluate_all(
            "all => all.filter(one => !(one.ariaLabel || one.textContent.trim() || one.labels?.length)).length"
        )
        assert unnamed == 0


async def test_whoever_is_on_a_button_stays_there(tmp_path: Path) -> None:
    """Rows are made anew while things happen: the keyboard's place must not be lost with them."""
    async with hub(tmp_path) as (world, running), opened(running) as page:
        button = page.get_by_role("button", name=f"Why: recorder {UNBOUND}")
        await button.focus()
        await page.evaluate("document.activeElement.closest('tr').dataset.old = 'yes'")
        await world.recorder("BOTAPIN009", speech(9))
        await expect(page.locator("#recorders tr[data-old]")).to_have_count(0)
        await expect(button).to_be_focused()


async def test_what_needs_a_person_stands_on_top(tmp_path: Path) -> None:
    """The word that asks for somebody is followed by why, and the next step."""
    async with hub(tmp_path) as (_world, running), opened(running) as page:
        await expect(page.locator("#problems")).to_contain_text("1 recording: ")
        await expect(page.locator("#problems")).to_contain_text("Next: Bind it in the dashboard")
        await page.get_by_role("button", name=f"Why: recorder {UNBOUND}").click()
        await expect(page.locator("#causes p").first).to_contain_text("[recorder_unbound]")


async def test_a_token_is_asked_for_once(tmp_path: Path) -> None:
    """The form says where the token stands; with it the page opens, and stays open."""
    token = tmp_path / "token"
    token.write_text("correct-horse-battery")
    async with hub(tmp_path, token_file=token) as (_world, running), opened(running) as page:
        await page.get_by_label("Token").fill("correct-horse-battery")
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator("#word")).to_have_text("attention")
        await page.reload()
        await expect(page.locator("#word")).to_have_text("attention")


async def test_asyncio_is_left_alone() -> None:
    """The browser of these tests leaves no task behind."""
    before = asyncio.all_tasks()
    async with browser():
        pass
    assert asyncio.all_tasks() <= before
