"""The 176 bytes of detail that may come with a fault event (docs/protocol.md, "Fault events")."""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from bota_gateway.protocol.errors import DecodeError, require

DETAIL_BYTES: Final = 176
VERSION: Final = 1
REPORT_PRESENT: Final = 0x01
MOST_PCS: Final = 6
MOST_BREADCRUMBS: Final = 8

SUBSYSTEMS: Final = {0: "system", 1: "audio", 2: "wireless", 3: "storage", 4: "power", 5: "security"}
STATES_BEFORE: Final = {
    0: "boot",
    1: "deep_standby",
    2: "recording",
    3: "upload_preparing",
    4: "uploading",
    5: "error_recovery",
    6: "full_sleep",
}
BREADCRUMBS: Final = {
    1: "boot",
    2: "standby_entered",
    3: "recording_started",
    4: "upload_preparing",
    5: "upload_started",
    6: "error_recovery",
    7: "full_sleep",
}

Memory = Literal["sdram", "ram", "rom"]

_FIXED: Final = struct.Struct("<BB12sBBBBBB5III6III16s")
_BREADCRUMB: Final = struct.Struct("<iHi")
_RUNTIME_HEAP: Final = 0x01
_RUNTIME_STACK: Final = 0x02
_MEMORY_BITS: Final[dict[Memory, int]] = {"sdram": 0x80000000, "ram": 0x40000000, "rom": 0}
_ADDRESS: Final = 0x3FFFFFFF


@dataclass(frozen=True, slots=True)
class CodeAddress:
    """Where the processor was."""

    memory: Memory
    address: int


@dataclass(frozen=True, slots=True)
class Breadcrumb:
    """One thing that happened before the fault."""

    delta_ms: int
    code: int
    arg: int


@dataclass(frozen=True, slots=True)
class FaultDetail:
    """What the firmware kept of a fault. Codes are kept raw."""

    report_present: bool
    build_id: str
    """12 lower-case hex characters, as the firmware writes them."""
    subsystem: int
    state_before: int
    cpu: int
    fault_masks: tuple[int, int, int, int, int]
    """Of cpu, core, high-speed bus, audio and wireless."""
    reti: CodeAddress | None
    rets: CodeAddress | None
    pc_trace: tuple[CodeAddress | None, ...]
    heap_free: int | None
    stack_left: int | None
    task_name: str
    breadcrumbs: tuple[Breadcrumb, ...]


def decode_fault_detail(value: bytes) -> FaultDetail:
    """Decode the 176 bytes.

    Raises:
        DecodeError: ``too_short``, or ``malformed`` for another version or impossible counts.
    """
    require(value, DETAIL_BYTES, "fault detail")
    version, flags, build, subsystem, state, cpu, pcs, crumbs, runtime, *words, task = _FIXED.unpack_from(value)
    if version != VERSION or pcs > MOST_PCS or crumbs > MOST_BREADCRUMBS:
        raise DecodeError("malformed", f"fault detail of version {version} with {pcs} addresses, {crumbs} breadcrumbs")
    masks, (reti, rets), trace, (heap, stack) = words[:5], words[5:7], words[7:13], words[13:]
    return FaultDetail(
        report_present=bool(flags & REPORT_PRESENT),
        build_id=_text(build),
        subsystem=subsystem,
        state_before=state,
        cpu=cpu,
        fault_masks=(masks[0], masks[1], masks[2], masks[3], masks[4]),
        reti=_address(reti),
        rets=_address(rets),
        pc_trace=tuple(_address(word) for word in trace[:pcs]),
        heap_free=heap if runtime & _RUNTIME_HEAP else None,
        stack_left=stack if runtime & _RUNTIME_STACK else None,
        task_name=_text(task),
        breadcrumbs=tuple(_breadcrumb(value, number) for number in range(crumbs)),
    )


def encode_fault_detail(detail: FaultDetail) -> bytes:
    """The 176 bytes."""
    has_heap, has_stack = detail.heap_free is not None, detail.stack_left is not None
    fixed = _FIXED.pack(
        VERSION,
        detail.report_present * REPORT_PRESENT,
        detail.build_id.encode(),
        detail.subsystem,
        detail.state_before,
        detail.cpu,
        len(detail.pc_trace),
        len(detail.breadcrumbs),
        has_heap * _RUNTIME_HEAP | has_stack * _RUNTIME_STACK,
        *detail.fault_masks,
        _word(detail.reti),
        _word(detail.rets),
        *(*map(_word, detail.pc_trace), *[0] * MOST_PCS)[:MOST_PCS],
        detail.heap_free or 0,
        detail.stack_left or 0,
        detail.task_name.encode(),
    )
    crumbs = b"".join(_BREADCRUMB.pack(crumb.delta_ms, crumb.code, crumb.arg) for crumb in detail.breadcrumbs)
    return (fixed + crumbs).ljust(DETAIL_BYTES, b"\0")


def _address(word: int) -> CodeAddress | None:
    if word == 0:
        return None
    memory: Memory = "sdram" if word & _MEMORY_BITS["sdram"] else "ram" if word & _MEMORY_BITS["ram"] else "rom"
    return CodeAddress(memory, word & _ADDRESS)


def _word(address: CodeAddress | None) -> int:
    return 0 if address is None else address.address | _MEMORY_BITS[address.memory]


def _breadcrumb(value: bytes, number: int) -> Breadcrumb:
    return Breadcrumb(*_BREADCRUMB.unpack_from(value, _FIXED.size + number * _BREADCRUMB.size))


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("ascii", errors="replace")
