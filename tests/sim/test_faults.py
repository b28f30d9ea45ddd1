import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.protocol.packets import encode_data
from bota_gateway.sim.faults import PACKET_KINDS, Fault, FaultKind, Faults
from bota_gateway.sim.spoil import spoil

packet_faults = st.builds(
    Fault,
    kind=st.sampled_from(sorted(PACKET_KINDS)),
    recording=st.sampled_from([None, "aa", "bb"]),
    at=st.none() | st.integers(0, 30),
    rate=st.none() | st.floats(0, 1),
    times=st.none() | st.integers(0, 5),
)


@given(faults=st.lists(packet_faults, max_size=6), packets=st.integers(0, 30), transfers=st.integers(1, 4))
def test_no_fault_fires_more_often_than_stated(faults: list[Fault], packets: int, transfers: int) -> None:
    """Over any number of transfers each fault fires at most its times, within its transfer, for its recording."""
    schedule = Faults(*faults)
    fired = [0] * len(faults)
    for _ in range(transfers):
        for at, due in schedule.plan("aa", packets).items():
            assert 0 <= at < packets
            for armed in due:
                index = next(i for i, fault in enumerate(faults) if fault is armed.fault)
                assert armed.fault.recording in (None, "aa")
                fired[index] += schedule.fire(armed, "aa", at)
    assert sum(fired) == len(schedule.fired)
    assert all(fault.times is None or count <= fault.times for fault, count in zip(faults, fired, strict=True))


def test_a_fault_without_limit_fires_always() -> None:
    """``times=None`` never runs out, and ``clear`` ends it."""
    faults = Faults(Fault(FaultKind.STATUS_UNREADABLE, times=None))
    assert all(faults.take(FaultKind.STATUS_UNREADABLE) for _ in range(100))
    faults.clear()
    assert faults.take(FaultKind.STATUS_UNREADABLE) is None


def test_a_fault_fires_only_where_it_belongs() -> None:
    """Another kind, another recording or another place does not fire it."""
    faults = Faults(Fault(FaultKind.GATT_STALL, at=3), Fault(FaultKind.WRONG_CRC, recording="aa"))
    assert faults.take(FaultKind.GATT_STALL, at=2) is None
    assert faults.take(FaultKind.WRONG_CRC, recording="bb") is None
    assert faults.take(FaultKind.NO_EOF) is None
    assert faults.take(FaultKind.GATT_STALL, at=3) is not None
    assert faults.take(FaultKind.WRONG_CRC, recording="aa") is not None
    assert faults.take(FaultKind.WRONG_CRC, recording="aa") is None


@pytest.mark.parametrize("second", sorted(PACKET_KINDS))
@pytest.mark.parametrize("first", sorted(PACKET_KINDS))
def test_several_faults_may_hit_one_packet(first: FaultKind, second: FaultKind) -> None:
    """What one fault adds without a payload is nothing for the next one to spoil."""
    rng = random.Random(1)
    for packet in spoil(first, encode_data(3, b"payload"), rng):
        assert spoil(second, packet, rng) or second is FaultKind.DROP
