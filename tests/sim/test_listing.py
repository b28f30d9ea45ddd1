from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.protocol.recording_list import ListAssembler, ListEntry
from bota_gateway.sim.listing import list_notifications
from bota_gateway.sim.options import EmptyList, ListForm

entries = st.lists(
    st.builds(
        ListEntry,
        file_id=st.binary(min_size=4, max_size=4).map(bytes.hex),
        flags=st.integers(0, 1),
        started_at=st.integers(0, 2**32 - 1),
        duration_s=st.integers(0, 65_535),
        size_kib=st.integers(0, 65_535),
    ),
    unique_by=lambda entry: entry.file_id,
    min_size=1,
    max_size=60,
)


@given(entries=entries, form=st.sampled_from(ListForm), room=st.sampled_from([182, 244, 506]))
def test_every_form_reads_as_the_same_list(entries: list[ListEntry], form: ListForm, room: int) -> None:
    """Whatever the framing and the MTU, the notifications fit, and the hub's own decoder finds every entry in order."""
    assembler = ListAssembler()
    for value in list_notifications(entries, form, EmptyList.ZERO, room):
        assert len(value) <= room
        assembler.add(value)
    assert list(assembler.entries) == entries
    assert assembler.rubbish == 0
    assert (assembler.count_byte is None) is (form is ListForm.BARE)


def test_the_smallest_mtu_carries_no_entry() -> None:
    """At an MTU of 23 nothing but the count can be said."""
    one = [ListEntry("01020304", 0, 0, 1, 1)]
    assert list_notifications(one, ListForm.COUNTED, EmptyList.ZERO, 20) == [b"\x01"]
    assert list_notifications(one, ListForm.BARE, EmptyList.ZERO, 20) == []
