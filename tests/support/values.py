"""Values of the wire that more than one test reads."""

from bota_gateway.protocol.diagnostics import FaultEvent, FaultList
from bota_gateway.protocol.fault_detail import Breadcrumb, CodeAddress, FaultDetail

DETAIL = FaultDetail(
    report_present=True,
    build_id="0123456789ab",
    subsystem=1,
    state_before=2,
    cpu=1,
    fault_masks=(1, 2, 3, 4, 5),
    reti=CodeAddress("sdram", 0x1234),
    rets=None,
    pc_trace=(CodeAddress("ram", 0x10), None, CodeAddress("rom", 0x20)),
    heap_free=None,
    stack_left=64,
    task_name="audio_task",
    breadcrumbs=(Breadcrumb(-1500, 3, -7), Breadcrumb(-20, 6, 0)),
)

FAULTS = FaultList(
    events=(
        FaultEvent("0102030405060708", 3, 4, 123_456, "1112131415161718", DETAIL),
        FaultEvent("00000000000000ff", 99, 255, 1),
    ),
    dropped_count=7,
)
"""One event with all its parts and one with none, of a type that no table knows."""
