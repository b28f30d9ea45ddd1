import asyncio
from collections.abc import Sequence

import bumble.controller
import bumble.host
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bota_gateway.protocol import uuids
from bota_gateway.sim.air import LinkEnd
from bota_gateway.sim.controller import Advertiser, VirtualController
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.sim.quick_host import QuickHost
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.recorders import Hub
from support.virtual_time import VirtualTimeLoop

SERIAL = "PIN0000001"


@given(
    sizes=st.lists(st.integers(0, 506), min_size=1, max_size=40),
    rate=st.sampled_from([None, 500.0, 20_000.0, 150_000.0]),
    silences=st.lists(st.floats(0.01, 0.7), max_size=3),
)
@settings(max_examples=40)
def test_everything_arrives_once_and_in_order(sizes: list[int], rate: float | None, silences: list[float]) -> None:
    """Notifications of any size, at any pace, with short silences between, arrive whole, once and in order."""
    sent = [bytes((index % 256,)) * size for index, size in enumerate(sizes)]
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(_carry(sent, rate, silences)) == sent


async def _carry(values: Sequence[bytes], rate: float | None, silences: Sequence[float]) -> list[bytes]:
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    options = RecorderOptions(att_mtu=509)
    async with (
        SimRecorder(radio, serial=SERIAL, options=options) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        radio.set_pace(rate)
        for value in values:
            assert recorder.firmware.notify(uuids.RECORDING_TRANSFER, value)
        for silence in silences:
            radio.set_silent(SERIAL, True)
            await asyncio.sleep(silence)
            radio.set_silent(SERIAL, False)
            await asyncio.sleep(0.05)
        await visit.until(lambda: len(visit.transferred) >= len(values))
        await visit.quiet(1)
        return visit.transferred


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LinkEnd, bumble.controller.Connection),
        (Advertiser, bumble.controller.LegacyAdvertiser),
        (VirtualController, bumble.controller.Controller),
        (QuickHost, bumble.host.Host),
    ],
)
def test_what_we_override_is_there(ours: type, theirs: type) -> None:
    """Each method of bumble's that ours replaces still exists in bumble, so that none is replaced in vain."""
    replaced = {
        LinkEnd: {"on_hci_acl_data_packet", "on_acl_pdu", "send_ll_control_pdu"},
        Advertiser: {"_on_timer_fired", "start", "stop"},
        VirtualController: {
            "on_hci_acl_data_packet",
            "on_hci_disconnect_command",
            "on_hci_le_create_connection_cancel_command",
            "on_hci_le_create_connection_command",
            "on_hci_reset_command",
            "on_ll_control_pdu",
            "send_hci_packet",
        },
        QuickHost: {"on_hci_packet", "on_l2cap_pdu", "send_hci_packet", "send_l2cap_pdu"},
    }[ours]
    assert issubclass(ours, theirs)
    assert replaced <= set(vars(theirs))
