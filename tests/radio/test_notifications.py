import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.errors import LinkLostError
from bota_gateway.radio import NotificationStream
from support.virtual_time import VirtualTimeLoop, virtual_time


def stream(max_bytes: int = 1000) -> NotificationStream:
    return NotificationStream("C0:FF:EE:00:00:01", max_bytes=max_bytes)


@virtual_time
async def test_a_batch_holds_everything_that_came_in_order() -> None:
    """One batch gives all that is buffered, oldest first, and leaves nothing."""
    notes = stream()
    for packet in (b"one", bytearray(b"two"), b""):
        notes.push(packet)
    assert await notes.batch(1) == [b"one", b"two", b""]
    assert await notes.batch(1) == []


@virtual_time
async def test_a_batch_waits_no_longer_than_it_was_told() -> None:
    """Nothing came: an empty batch after exactly the time-out."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await stream().batch(2.5) == []
    assert loop.time() - began == pytest.approx(2.5)


@virtual_time
async def test_a_batch_ends_its_wait_with_the_first_packet() -> None:
    """A packet wakes the reader at once."""
    notes = stream()
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(1, notes.push, b"first")
    assert await notes.batch(60) == [b"first"]
    assert loop.time() - began == pytest.approx(1)


@virtual_time
async def test_what_does_not_fit_is_dropped_and_counted() -> None:
    """A full buffer keeps what it has, drops the new packet and counts packets and bytes."""
    notes = stream(max_bytes=10)
    for packet in (b"12345", b"67890", b"x", b"yy"):
        notes.push(packet)
    assert (notes.received, notes.received_bytes) == (4, 13)
    assert (notes.dropped, notes.dropped_bytes) == (2, 3)
    assert await notes.batch(0) == [b"12345", b"67890"]
    notes.push(b"fits again")
    assert await notes.batch(0) == [b"fits again"]
    assert notes.dropped == 2


@virtual_time
async def test_a_lost_link_still_gives_what_is_buffered_and_then_raises() -> None:
    """Packets that arrived before the loss are not lost with it."""
    notes = stream()
    notes.push(b"last")
    notes.end()
    assert await notes.batch(1) == [b"last"]
    with pytest.raises(LinkLostError):
        await notes.batch(1)


@virtual_time
async def test_a_lost_link_ends_the_wait_for_a_batch() -> None:
    """The reader does not wait for its time-out when the link is lost."""
    notes = stream()
    loop = asyncio.get_running_loop()
    loop.call_later(1, notes.end)
    began = loop.time()
    with pytest.raises(LinkLostError):
        await notes.batch(600)
    assert loop.time() - began == pytest.approx(1)


@virtual_time
async def test_a_cancelled_wait_loses_no_packet() -> None:
    """Packets are taken from the buffer only by a batch that returns them."""
    notes = stream()
    reader = asyncio.create_task(notes.batch(60))
    await asyncio.sleep(1)
    notes.push(b"kept")
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await notes.batch(1) == [b"kept"]


@given(st.lists(st.one_of(st.binary(max_size=8), st.none()), max_size=60), st.integers(0, 24))
def test_buffered_bytes_never_exceed_the_bound(steps: list[bytes | None], max_bytes: int) -> None:
    """Whatever comes and whenever it is read (None), held bytes stay within bounds and nothing is lost uncounted."""

    async def play() -> None:
        notes = stream(max_bytes)
        taken: list[bytes] = []
        for step in steps:
            if step is None:
                batch = await notes.batch(0)
                assert sum(map(len, batch)) <= max_bytes
                taken += batch
            else:
                notes.push(step)
        taken += await notes.batch(0)
        pushed = [step for step in steps if step is not None]
        assert notes.received == len(pushed)
        assert len(taken) + notes.dropped == len(pushed)
        assert sum(map(len, taken)) + notes.dropped_bytes == sum(map(len, pushed))
        remaining = iter(pushed)
        assert all(packet in remaining for packet in taken), "order is kept"

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play())
