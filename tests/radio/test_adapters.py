import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.radio import discover_adapters
from bota_gateway.radio.adapters import Adapter, KnownAdapter, ask_bluez, choose, find_again, read_adapters

ONBOARD = KnownAdapter("hci0", "DC:A6:32:00:00:01", powered=True, central=True)
DONGLE = KnownAdapter("hci1", "00:1A:7D:00:00:02", powered=False, central=True)
HEADSET_ONLY = KnownAdapter("hci2", "00:1A:7D:00:00:03", powered=True, central=False)
ALL = [DONGLE, HEADSET_ONLY, ONBOARD]


def test_without_a_wish_every_usable_adapter_is_chosen() -> None:
    """In the order of their names; one that can't be central is of no use."""
    assert choose(ALL, ()) == [ONBOARD, DONGLE]


@pytest.mark.parametrize("wanted", [("hci1", "DC:A6:32:00:00:01"), ("00:1a:7d:00:00:02", "HCI0", "hci1")])
def test_named_adapters_are_chosen_in_the_order_named(wanted: tuple[str, ...]) -> None:
    """By name or address, whatever the case, each once."""
    assert choose(ALL, wanted) == [DONGLE, ONBOARD]


def test_a_named_adapter_that_is_missing_is_told() -> None:
    """The gateway works with what is there and says what is not."""
    with capture_logs() as logs:
        assert choose(ALL, ("hci9", "hci0")) == [ONBOARD]
    assert [(entry["event"], entry["adapter"]) for entry in logs] == [("adapter_missing", "hci9")]


@pytest.mark.parametrize(("known", "wanted"), [([], ()), ([HEADSET_ONLY], ()), (ALL, ("hci9",)), (ALL, ("hci2",))])
def test_without_a_usable_adapter_there_is_a_clear_error(known: list[KnownAdapter], wanted: tuple[str, ...]) -> None:
    """What was looked for and what to do."""
    with pytest.raises(AdapterError, match="adapter.*" + "".join(wanted)) as caught:
        choose(known, wanted)
    assert caught.value.next_step


def test_adapters_are_read_from_what_bluez_manages() -> None:
    """Other objects are passed over; a BlueZ that does not tell roles is taken to have them."""
    assert read_adapters(
        {
            "/org/bluez": {"org.bluez.AgentManager1": {}},
            "/org/bluez/hci0": {
                "org.bluez.Adapter1": {
                    "Address": ONBOARD.address,
                    "Powered": True,
                    "Roles": ["central", "peripheral"],
                }
            },
            "/org/bluez/hci2": {
                "org.bluez.Adapter1": {"Address": HEADSET_ONLY.address, "Powered": True, "Roles": ["peripheral"]}
            },
            "/org/bluez/hci1": {"org.bluez.Adapter1": {"Address": DONGLE.address, "Powered": False}},
            "/org/bluez/hci0/dev_C0_FF_EE_00_00_01": {"org.bluez.Device1": {"Address": "C0:FF:EE:00:00:01"}},
        }
    ) == [ONBOARD, HEADSET_ONLY, DONGLE]


async def test_a_hub_without_a_system_bus_gets_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client against a bus that is not there."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'no_bus'}")
    with pytest.raises(AdapterError, match="system bus") as caught:
        await discover_adapters(RadioSettings())
    assert "systemctl status" in caught.value.next_step


@pytest.mark.parametrize("said", [b"", b"\xff" * 64])
async def test_a_bus_that_breaks_off_or_talks_rubbish_is_no_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """With its reason in words; whoever looks for an adapter that is in use goes on with what is known of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"\0AUTH EXTERNAL")
        writer.write(b"OK 1234deadbeef1234deadbeef1234dead\r\n")
        assert await reader.readline() == b"BEGIN\r\n"
        await reader.read(1)
        writer.write(said)
        writer.close()

    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    async with await asyncio.start_unix_server(serve, tmp_path / "bus"):
        with pytest.raises(AdapterError, match=r"can't be reached: [^.]+") as caught:
            await ask_bluez()
        assert caught.value.error_code == "radio_no_bus"
        assert await find_again(Adapter("hci0", ONBOARD.address), "hci0") == "hci0"
