import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDBusError
from structlog.testing import capture_logs

from bota_gateway.radio.const import (
    CLEANUP_S,
    PATIENCE,
    PAUSE_S,
    RSSI_UNKNOWN,
    SCAN_RETRY,
    SCAN_START_S,
    SCAN_STOP_S,
    SILENT_S,
)
from bota_gateway.radio.scanner import Scanner
from support.fake_bleak import FakeAir
from support.virtual_time import virtual_time


def ignore(_device: BLEDevice, _data: AdvertisementData) -> None:
    """Nobody listens."""


@asynccontextmanager
async def scanning(
    air: FakeAir, heard: Callable[[BLEDevice, AdvertisementData], None] = ignore
) -> AsyncIterator[Scanner]:
    """A scanner at work."""
    scanner = Scanner(air.adapter(), heard)
    task = asyncio.create_task(scanner.run())
    await asyncio.sleep(0.1)
    try:
        yield scanner
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not air.scanners, "a cancelled scanner is stopped"


async def hang() -> None:
    await asyncio.Event().wait()


async def not_ready() -> None:
    raise BleakDBusError("org.bluez.Error.NotReady", ["Resource Not Ready"])


@virtual_time
async def test_it_scans_actively_and_passes_on_what_it_hears() -> None:
    """Active, because the manufacturer data is in the scan response; with duplicates, because presence is one."""
    air = FakeAir()
    heard: list[str] = []
    async with scanning(air, lambda device, _data: heard.append(device.address)) as scanner:
        air.advertise("C0:FF:EE:00:00:01")
        air.advertise("C0:FF:EE:00:00:02", rssi=RSSI_UNKNOWN)
        assert heard == ["C0:FF:EE:00:00:01"]
        assert scanner.counters.heard == 1
    assert air.scanner_args[0]["scanning_mode"] == "active"
    assert air.scanner_args[0]["bluez"] == {"adapter": "hci0", "filters": {"DuplicateData": True}}


@virtual_time
async def test_it_is_stopped_inside_a_pause_and_runs_again_after_it() -> None:
    """Inside the outermost of overlapping pauses nothing scans; after the last one it scans again."""
    air = FakeAir()
    async with scanning(air) as scanner:
        async with scanner.paused():
            assert not air.scanners
            async with scanner.paused():
                await asyncio.sleep(5)
            await asyncio.sleep(5)
            assert not air.scanners
        await asyncio.sleep(0.1)
        assert air.scanners


@virtual_time
async def test_a_pause_asked_for_during_the_start_is_kept() -> None:
    """A scanner that is just being started is stopped before the pause begins."""
    slow = asyncio.Event()

    async def start_slowly() -> None:
        await slow.wait()

    air = FakeAir(scan_start=start_slowly)
    async with scanning(air) as scanner:
        asyncio.get_running_loop().call_later(3, slow.set)
        async with scanner.paused():
            assert slow.is_set()
            assert not air.scanners


@virtual_time
async def test_a_cancelled_pause_lets_it_scan_again() -> None:
    """Who is cancelled while waiting for the pause leaves no pause behind."""
    held = asyncio.Event()

    async def stop_slowly() -> None:
        await held.wait()

    air = FakeAir(scan_stop=stop_slowly)
    async with scanning(air) as scanner:

        async def pause() -> None:
            async with scanner.paused():
                raise AssertionError("not reached")

        task = asyncio.create_task(pause())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.set()
        await asyncio.sleep(0.1)
        assert air.scanners


@virtual_time
async def test_a_scanner_that_will_not_stop_holds_up_nobody_for_ever() -> None:
    """The connect goes ahead after `PAUSE_S` at the latest, and the log says so."""
    air = FakeAir(scan_stop=hang)
    loop = asyncio.get_running_loop()
    with capture_logs() as logs:
        async with scanning(air) as scanner:
            began = loop.time()
            async with scanner.paused():
                assert loop.time() - began <= PAUSE_S
            await asyncio.sleep(SCAN_STOP_S + CLEANUP_S)
            air.scanners.clear()
            air.scan_stop = FakeAir().scan_stop
    assert "scan_stop_failed" in [entry["event"] for entry in logs]


@virtual_time
async def test_silence_restarts_it() -> None:
    """BlueZ goes deaf without an error: after `SILENT_S` of scanning in silence, the scanner is restarted."""
    air = FakeAir()
    with capture_logs() as logs:
        async with scanning(air) as scanner:
            await asyncio.sleep(SILENT_S - 1)
            assert scanner.counters.silences == 0
            await asyncio.sleep(1)
            assert (scanner.counters.silences, scanner.counters.starts) == (1, 2)
            assert air.told == ["scan start", "scan stop", "scan start"]
    assert [entry["event"] for entry in logs] == ["scan_started", "scan_silent", "scan_started"]
    assert logs[1]["log_level"] == "info", "without evidence that there is something to hear"


@virtual_time
async def test_any_advertisement_is_a_sign_of_life() -> None:
    """A scanner that hears anybody is not restarted; bleak's calls without a signal do not count as hearing."""
    air = FakeAir()
    async with scanning(air) as scanner:
        for _ in range(4):
            await asyncio.sleep(SILENT_S / 2)
            air.advertise(name="Somebody's watch")
        assert scanner.counters.silences == 0
        for _ in range(2):
            await asyncio.sleep(SILENT_S / 2)
            air.advertise(rssi=RSSI_UNKNOWN)
        assert scanner.counters.silences == 1


@virtual_time
async def test_patience_grows_with_each_restart_that_brought_nothing() -> None:
    """A lonely place does not fill the log; the first sound restores the short patience."""
    air = FakeAir()
    with capture_logs() as logs:
        async with scanning(air):
            await asyncio.sleep(SILENT_S * 40)
            air.advertise()
            await asyncio.sleep(SILENT_S + 1)
    silences = [entry["silent_s"] for entry in logs if entry["event"] == "scan_silent"]
    waits = [after - before for before, after in pairwise([0, *silences[:-1]])]
    assert waits == [min(SILENT_S * 2**n, PATIENCE.longest_s) for n in range(len(waits))]
    assert PATIENCE.longest_s in waits
    assert silences[-1] == SILENT_S


@virtual_time
async def test_pauses_do_not_hide_silence() -> None:
    """Time in pauses counts neither as hearing nor as silence; scanning time adds up across them."""
    air = FakeAir()
    async with scanning(air) as scanner:
        for _ in range(3):
            await asyncio.sleep(SILENT_S / 4)
            async with scanner.paused():
                await asyncio.sleep(SILENT_S * 2)
        assert scanner.counters.silences == 0
        await asyncio.sleep(SILENT_S / 4 + 1)
        assert scanner.counters.silences == 1


@virtual_time
async def test_a_scanner_that_will_not_start_is_tried_again_ever_more_rarely() -> None:
    """An adapter that is off is named with advice, and found again when it is back."""
    air = FakeAir(scan_start=not_ready)
    with capture_logs() as logs:
        async with scanning(air) as scanner:
            await asyncio.sleep(600)
            assert scanner.trouble is not None
            assert "[org.bluez.Error.NotReady] Resource Not Ready" in scanner.trouble.error.message
            assert "rfkill" in scanner.trouble.error.next_step
            assert 0 < scanner.trouble.again_at - asyncio.get_running_loop().time() <= SCAN_RETRY.longest_s
            air.scan_start = FakeAir().scan_start
            await asyncio.sleep(SCAN_RETRY.longest_s)
            assert air.scanners
            assert scanner.trouble is None
            assert scanner.counters.silences == 0, "not scanning is not silence"
            assert scanner.counters.failures == len([entry for entry in logs if entry["event"] == "scan_failed"])
    waits = [entry["retry_in_s"] for entry in logs if entry["event"] == "scan_failed"]
    assert waits[0] == SCAN_RETRY.first_s
    assert waits == sorted(waits)
    assert waits[-1] == SCAN_RETRY.longest_s
    assert logs[0]["kind"] == "adapter_down"
    assert "rfkill" in logs[0]["advice"]
    assert logs[-1]["event"] == "scan_started"


@virtual_time
async def test_a_start_that_hangs_is_given_up() -> None:
    """With a hung bluetoothd the start never ends by itself."""
    air = FakeAir(scan_start=hang)
    async with scanning(air) as scanner:
        await asyncio.sleep(SCAN_START_S + 1)
        assert scanner.counters.failures == 1


@virtual_time
async def test_a_key_error_of_bleak_is_survived() -> None:
    """Bleak lets KeyError and AssertionError through; the scanner goes on all the same."""

    async def fail() -> None:
        raise KeyError("/org/bluez/hci0")

    air = FakeAir(scan_start=fail)
    async with scanning(air) as scanner:
        assert scanner.counters.failures == 1
