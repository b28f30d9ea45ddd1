"""One adapter that goes deaf, as its station and scanner deal with it; and which of several adapters connects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from bleak.exc import BleakDBusError
from structlog.testing import capture_logs

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.radio import Radio, Tally
from bota_gateway.radio.const import CROWD, LOAD_DB, SCAN_RETRY, SILENT_S, WEAK_RSSI
from bota_gateway.radio.station import Station
from support.fake_bleak import FakeAir
from support.virtual_time import virtual_time

ONE = "C0:FF:EE:00:00:01"
TWO = "C0:FF:EE:00:00:02"


@asynccontextmanager
async def radio_on(*airs: FakeAir, tally: Tally | None = None, max_links: int = 3) -> AsyncIterator[Radio]:
    """A radio at work, with an adapter on each air."""
    adapters = [air.adapter(f"hci{number}") for number, air in enumerate(airs)]
    radio = Radio(adapters, RadioSettings(max_links=max_links), lambda: 0.0, tally)
    task = asyncio.create_task(radio.run())
    await asyncio.sleep(0.1)
    try:
        yield radio
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def crowd(air: FakeAir, count: int = CROWD) -> None:
    for number in range(count):
        air.advertise(f"00:00:00:00:00:{number:02X}", name="Somebody's watch")


def told(logs: list[Any], event: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == event]


class Power:
    """Stands where a station switches its adapter; this backend has no switch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cycles = 0
        self.forbidden: str | None = None

        async def power_cycle(station: Station, hci: str) -> bool:
            assert station.scanner.hci == hci
            self.cycles += 1
            return True

        monkeypatch.setattr(Station, "power_cycle", power_cycle)
        monkeypatch.setattr(Station, "why_no_power_cycle", lambda _station: self.forbidden)


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Power:
    return Power(monkeypatch)


@virtual_time
async def test_a_crowd_that_falls_silent_at_once_is_a_deaf_adapter(power: Power) -> None:
    """Restarted twice, switched off and on, then a person is told in plain words; the first sound ends it."""
    air, tally = FakeAir(), Tally()
    with capture_logs() as logs:
        async with radio_on(air, tally=tally) as radio:
            crowd(air)
            await asyncio.sleep(3 * SILENT_S + 10)
            assert power.cycles == 1
            assert not radio.troubles
            await asyncio.sleep(SILENT_S)
            error = radio.troubles["hci0"].error
            assert error.error_code == "radio_adapter_deaf"
            assert "3 devices fell silent at once" in error.message
            assert "power away" in error.next_step
            air.advertise(name="Somebody's watch")
            assert not radio.troubles
    assert [entry["trying"] for entry in told(logs, "scan_silent")] == ["restart", "restart", "power_cycle", "tell"]
    assert [entry["log_level"] for entry in told(logs, "adapter_deaf")] == ["error"]
    (recovered,) = told(logs, "scan_recovered")
    assert recovered["after"] == "tell"
    assert recovered["silent_s"] >= 4 * SILENT_S
    counts = {name: count for (_, name), count in tally.counts.items()}
    assert counts == {"scan_restarts": 4, "deaf": 1, "recoveries": 1}


@virtual_time
async def test_what_another_adapter_hears_is_evidence(power: Power) -> None:
    """The air is not silent, so the adapter is; the other one is left alone."""
    deaf, hearing = FakeAir(), FakeAir()
    with capture_logs() as logs:
        async with radio_on(deaf, hearing) as radio:
            for _ in range(round(4.5 * SILENT_S / 30)):
                hearing.advertise(name="Somebody's watch")
                await asyncio.sleep(30)
            assert set(radio.troubles) == {"hci0"}
            assert "hci1 hears others" in radio.troubles["hci0"].error.message
    assert power.cycles == 1
    assert {entry["adapter"] for entry in told(logs, "scan_silent")} == {"hci0"}


@virtual_time
async def test_a_lonely_hub_is_in_no_trouble(power: Power) -> None:
    """One recorder that walks away leaves silence: no alarm, no count, hardly a line, in a week."""
    air, tally = FakeAir(), Tally()
    with capture_logs() as logs:
        async with radio_on(air, tally=tally) as radio:
            air.advertise(ONE)
            await asyncio.sleep(7 * 86_400)
            assert not radio.troubles
    assert not tally.counts
    assert power.cycles <= 12
    assert len(told(logs, "nobody_heard")) == 1
    assert len([entry for entry in logs if entry["log_level"] in {"info", "warning", "error"}]) < 60


@virtual_time
async def test_a_recorder_that_was_let_go_and_stays_silent_is_reason_to_look(power: Power) -> None:
    """It should advertise again; but it may have walked away, so nobody is alarmed."""
    air = FakeAir()
    with capture_logs() as logs:
        async with radio_on(air) as radio:
            air.advertise(ONE)
            async with radio.connect(radio.sightings[ONE]):
                await asyncio.sleep(20)
            await asyncio.sleep(4 * SILENT_S + 10)
            assert power.cycles == 1
            assert not radio.troubles
    assert "let go" in told(logs, "scan_silent")[0]["reason"]
    assert told(logs, "nobody_heard")


@virtual_time
async def test_recorders_that_a_link_silences_are_no_crowd(power: Power) -> None:
    """Three recorders that are held do not advertise, and nothing is wrong."""
    air = FakeAir()
    async with radio_on(air) as radio:
        addresses = [f"C0:FF:EE:00:02:{number:02X}" for number in range(3)]

        async def hold(address: str) -> None:
            async with radio.connect(radio.sightings[address]):
                await asyncio.sleep(10 * SILENT_S)

        for address in addresses:
            air.advertise(address)
        await asyncio.gather(*map(hold, addresses))
        assert not radio.troubles
    assert power.cycles == 0


@virtual_time
async def test_while_links_are_in_use_a_person_is_told_instead(power: Power) -> None:
    """The log says why the adapter was not switched off."""
    power.forbidden = "links are in use"
    air = FakeAir()
    with capture_logs() as logs:
        async with radio_on(air) as radio:
            crowd(air)
            await asyncio.sleep(4 * SILENT_S)
            assert radio.troubles["hci0"].error.error_code == "radio_adapter_deaf"
    assert power.cycles == 0
    assert told(logs, "scan_silent")[0]["no_power_cycle"] == "links are in use"


async def in_progress() -> None:
    raise BleakDBusError("org.bluez.Error.InProgress", ["Operation already in progress"])


@virtual_time
async def test_an_adapter_that_refuses_to_scan_is_switched_off_and_on_and_tried_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every start was refused for longer than silence may last: that was restarts enough."""
    air = FakeAir(scan_start=in_progress)
    cycled = asyncio.Event()

    async def power_cycle(_station: Station, _hci: str) -> bool:
        air.scan_start = FakeAir().scan_start
        cycled.set()
        return True

    monkeypatch.setattr(Station, "power_cycle", power_cycle)
    monkeypatch.setattr(Station, "why_no_power_cycle", lambda _station: None)
    with capture_logs() as logs:
        async with radio_on(air) as radio:
            began = asyncio.get_running_loop().time()
            await cycled.wait()
            assert SILENT_S - 1 <= asyncio.get_running_loop().time() - began <= SILENT_S + SCAN_RETRY.longest_s
            await asyncio.sleep(1)
            assert air.scanners, "it is tried at once, not when the next try would have been"
            assert not radio.troubles
    (silent,) = told(logs, "scan_silent")
    assert silent["trying"] == "power_cycle"
    assert "told to scan" in silent["reason"]


@virtual_time
async def test_where_switching_does_not_help_an_adapter_that_refuses_a_person_is_told(power: Power) -> None:
    """The trouble names the power supply, and no longer other programs."""
    air = FakeAir(scan_start=in_progress)
    async with radio_on(air) as radio:
        await asyncio.sleep(2 * SILENT_S)
        assert radio.troubles["hci0"].error.error_code == "radio_scan_failed"
        await asyncio.sleep(3 * SILENT_S)
        assert radio.troubles["hci0"].error.error_code == "radio_adapter_deaf"
        assert power.cycles == 1
        air.scan_start = FakeAir().scan_start
        await asyncio.sleep(SCAN_RETRY.longest_s)
        crowd(air)
        await asyncio.sleep(0)
        assert not radio.troubles


@virtual_time
async def test_an_adapter_that_refuses_while_links_are_in_use_gets_time(power: Power) -> None:
    """A long transfer may be all that is wrong: nobody is told before as many minutes as with silence."""
    power.forbidden = "links are in use"
    air = FakeAir(scan_start=in_progress)
    with capture_logs() as logs:
        async with radio_on(air):
            await asyncio.sleep(3 * SILENT_S)
    assert [entry["trying"] for entry in told(logs, "scan_silent")] == ["restart", "restart"]
    assert power.cycles == 0


# -- which adapter connects ---------------------------------------------------------------------------


@virtual_time
async def test_load_weighs_against_signal() -> None:
    """Each link that an adapter carries costs it `LOAD_DB`."""
    near, far = FakeAir(), FakeAir()
    async with radio_on(near, far) as radio:
        near.advertise(ONE, rssi=-50)
        far.advertise(ONE, rssi=-50 - LOAD_DB - 1)
        chosen = [radio.choose(radio.sightings[ONE], {"hci0": links}) for links in range(3)]
        assert [each.adapter for each in chosen if each] == ["hci0", "hci0", "hci1"]


@virtual_time
async def test_a_full_adapter_leaves_it_to_another_and_all_full_to_nobody() -> None:
    """Whoever hears it at all is better than waiting for the best."""
    near, far = FakeAir(), FakeAir()
    async with radio_on(near, far, max_links=2) as radio:
        near.advertise(ONE, rssi=-50)
        far.advertise(ONE, rssi=WEAK_RSSI - 5)
        seen = radio.sightings[ONE]
        other = radio.choose(seen, {"hci0": 2})
        assert other is not None
        assert other.adapter == "hci1"
        assert radio.choose(seen, {"hci0": 2, "hci1": 2}) is None
        spare = radio.choose(seen, {"hci0": 1})
        assert spare is not None
        assert spare.adapter == "hci0", "a weak one is for want of another only"


@virtual_time
async def test_an_adapter_in_trouble_is_passed_over() -> None:
    """What it heard a minute ago it can't connect now."""
    stuck, well = FakeAir(), FakeAir()
    async with radio_on(stuck, well) as radio:
        stuck.advertise(ONE, rssi=-40)
        well.advertise(ONE, rssi=-70)

        async def fail() -> None:
            raise OSError("no such device")

        stuck.scan_start = fail
        radio.scanners["hci0"].retry()
        await asyncio.sleep(0.1)
        chosen = radio.choose(radio.sightings[ONE], {})
        assert chosen is not None
        assert chosen.adapter == "hci1"


@virtual_time
async def test_several_adapters_share_the_recorders() -> None:
    """Heard alike by both, six recorders are held by three each, at once."""
    airs = FakeAir(), FakeAir()
    async with radio_on(*airs) as radio:
        addresses = [f"C0:FF:EE:00:02:{number:02X}" for number in range(6)]
        for address in addresses:
            for air in airs:
                air.advertise(address)

        async def hold(address: str) -> None:
            async with radio.connect(radio.sightings[address]):
                await asyncio.sleep(10)

        holds = [asyncio.create_task(hold(address)) for address in addresses]
        await asyncio.sleep(5)
        assert [len(air.clients) for air in airs] == [3, 3]
        await asyncio.gather(*holds)


@virtual_time
async def test_an_adapter_that_is_taken_away_ends_its_links_and_gives_its_recorders_to_the_other() -> None:
    """Who holds a link learns it at once; who waits for one is refused; what both hear is heard by the other."""
    gone, stays = FakeAir(), FakeAir()
    async with radio_on(stays) as radio, asyncio.timeout(600):
        using = radio._using(gone.adapter("hci9"))
        await using.__aenter__()
        await asyncio.sleep(0.1)
        gone.advertise(ONE, rssi=-40)
        gone.advertise(TWO, rssi=-40)
        stays.advertise(TWO, rssi=-80)
        assert radio.sightings[TWO].adapter == "hci9"
        async with radio.connect(radio.sightings[ONE]) as link:
            seen = radio.sightings[TWO]
            await using.__aexit__(None, None, None)
            assert link.lost.is_set()
            assert radio.sightings[TWO].adapter == "hci0"
            assert set(radio.scanners) == {"hci0"}
        async with radio.connect(seen) as link:
            assert link.adapter == "hci0"
        with pytest.raises(AdapterError, match="hci9"):
            async with radio.connect(gone_sighting(seen)):
                pass


def gone_sighting(seen: Any) -> Any:
    """A sighting by the adapter that is gone, of a recorder that nobody else hears."""
    return replace(seen, address="C0:FF:EE:00:00:77", adapter="hci9")
