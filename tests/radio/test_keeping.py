"""Adapters without BlueZ that come and go, each on a real transport."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from bumble.transport import open_transport

from bota_gateway.backoff import Backoff
from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.radio import Radio, Tally, keeping
from bota_gateway.sim.virtual_radio import VirtualRadio

pytestmark = pytest.mark.timeout(60)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what goes over a socket, of which no event here tells."""
    while not condition():  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.005)


@asynccontextmanager
async def offered(directory: Path, name: str) -> AsyncIterator[None]:
    """A controller that others may use while the block runs."""
    air = VirtualRadio()
    async with await open_transport(f"unix-server:{directory}/{name}") as transport:
        air.attach(name, transport, public_address=f"00:11:22:33:44:{len(name):02X}")
        try:
            yield
        finally:
            if transport.sink.transport is not None:
                transport.sink.transport.close()
            transport.server.close()  # bumble forgets to
            air.close()


def named(directory: Path, name: str) -> str:
    return f"bumble:unix-client:{directory}/{name}"


@asynccontextmanager
async def radio_of(directory: Path, *names: str, tally: Tally | None = None) -> AsyncIterator[Radio]:
    settings = RadioSettings(adapters=tuple(named(directory, name) for name in names))
    radio = Radio(None, settings, lambda: 0.0, tally)
    task = asyncio.create_task(radio.run())
    try:
        yield radio
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def listens(radio: Radio, name: str) -> bool:
    scanner = radio.scanners.get(name)
    return scanner is not None and scanner.counters.starts > 0 and scanner.scanning


async def test_losing_one_adapter_leaves_the_other_alone_and_its_return_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scanner of the other one is the same all along, started once; the lost one is tried until it is back."""
    monkeypatch.setattr(keeping, "SCAN_RETRY", Backoff(0.02, 60.0))
    one, other, tally = named(tmp_path, "one"), named(tmp_path, "other"), Tally()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(offered(tmp_path, "one"))
        lost = AsyncExitStack()
        await lost.enter_async_context(offered(tmp_path, "other"))
        radio = await stack.enter_async_context(radio_of(tmp_path, "one", "other", tally=tally))
        await until(lambda: listens(radio, one) and listens(radio, other))
        kept = radio.scanners[one]
        await lost.aclose()
        await until(lambda: other in radio.troubles)
        assert radio.troubles[other].error.error_code == "radio_no_adapter"
        assert set(radio.scanners) == {one}
        (tmp_path / "other").unlink(missing_ok=True)
        await stack.enter_async_context(offered(tmp_path, "other"))
        await until(lambda: listens(radio, other))
        assert not radio.troubles
        assert radio.scanners[one] is kept
        assert kept.counters.starts == 1
    assert dict(tally.counts) == {(other, "adapter_losses"): 1}, "stopping is no loss"


async def test_one_that_is_missing_at_the_start_keeps_nobody_from_using_the_other(tmp_path: Path) -> None:
    """It is told, and tried again."""
    tally = Tally()
    async with offered(tmp_path, "one"), radio_of(tmp_path, "one", "nowhere", tally=tally) as radio:
        await until(lambda: listens(radio, named(tmp_path, "one")))
        await until(lambda: named(tmp_path, "nowhere") in radio.troubles)
        assert listens(radio, named(tmp_path, "one"))
    assert not tally.counts, "what was never there is not lost"


async def test_without_any_the_radio_ends_by_an_error(tmp_path: Path) -> None:
    """The daemon tells it as the radio's, and starts the radio again."""
    settings = RadioSettings(adapters=(named(tmp_path, "nowhere"), named(tmp_path, "neither")))
    with pytest.raises(ExceptionGroup) as failed:
        await Radio(None, settings, lambda: 0.0).run()
    assert failed.group_contains(AdapterError, match="no controller")
