import asyncio
import hashlib
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bota_gateway.errors import SpoolError
from bota_gateway.model import OPEN, Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES, PIECE_BYTES
from bota_gateway.spool.database import Value
from support.spool_children import run_child
from support.spooling import SERIAL, TurnableClock, bring_to, entry, meet, noise, pull, settings_for

GROWTH_KIB = 8 << 10
"""Measured: 2 to 3 MiB above what 1 MiB takes: pieces of 1 MiB, the rows they are made of, and SQLite's cache."""


async def read(spool: Spool, recording_id: int, piece_bytes: int = PIECE_BYTES) -> list[bytes]:
    return [piece async for piece in spool.read_audio(recording_id, piece_bytes=piece_bytes)]


@pytest.mark.parametrize("size", [1, AUDIO_ROW_BYTES, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3_000_000])
async def test_audio_comes_back_in_pieces_of_one_mib(spool: Spool, size: int) -> None:
    """Every piece but the last has the asked size, and together they are what was received."""
    (row,) = await meet(spool, entry())
    data = noise(size)
    await pull(spool, row, data)
    pieces = await read(spool, row.id)
    assert b"".join(pieces) == data
    assert {len(piece) for piece in pieces[:-1]} <= {PIECE_BYTES}


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 400_000), min_size=1, max_size=6),
    st.integers(0, 2 * PIECE_BYTES),
)
def test_any_cut_gives_the_same_bytes(cuts: list[int], piece_bytes: int) -> None:
    """How bytes arrive and how they are asked for does not matter."""

    async def check() -> None:
        data = noise(sum(cuts), seed=len(cuts))
        with tempfile.TemporaryDirectory() as name:
            async with Spool.open(settings_for(Path(name)), TurnableClock()) as spool:
                (row,) = await meet(spool, entry())
                await spool.begin_receiving(row.id)
                start = 0
                for cut in cuts:
                    await spool.store_audio(row.id, data[start : start + cut])
                    start += cut
                digest = hashlib.sha256(data).hexdigest()
                await spool.capture(
                    row.id, size_bytes=len(data), sha256=digest, device_sha256=None, binding=row.binding
                )
                assert b"".join(await read(spool, row.id, piece_bytes)) == data

    asyncio.run(check())


async def test_leaving_early_leaves_nothing_behind(spool: Spool) -> None:
    """A reader that is closed after the first piece has no read under way any more."""
    (row,) = await meet(spool, entry())
    await pull(spool, row, noise(3_000_000))
    before = asyncio.all_tasks()
    async with aclosing(spool.read_audio(row.id)) as pieces:
        async for _piece in pieces:
            break
    assert asyncio.all_tasks() == before


async def test_others_can_write_while_one_reads(spool: Spool) -> None:
    """A slow upload does not hold up what arrives."""
    (row, other) = await meet(spool, entry(1), entry(2))
    data = noise(3_000_000)
    await pull(spool, row, data)
    got = b""
    await spool.begin_receiving(other.id)
    async for piece in spool.read_audio(row.id):
        got += piece
        await spool.store_audio(other.id, noise(AUDIO_ROW_BYTES))
    assert got == data


@pytest.mark.parametrize("state", [Custody.LISTED, Custody.RECEIVING, Custody.PARKED, Custody.FORGOTTEN])
async def test_there_is_no_audio_before_capture_or_after_retention(spool: Spool, state: Custody) -> None:
    """Asking for bytes that are not here says so, and says where they are."""
    row = await bring_to(spool, state)
    with pytest.raises(SpoolError) as caught:
        await read(spool, row.id)
    assert caught.value.error_code == "spool_no_audio"


async def test_missing_rows_are_noticed(spool: Spool) -> None:
    """A recording that lost a row ends in an error, not in a shorter upload."""
    (row,) = await meet(spool, entry())
    await pull(spool, row, noise(3_000_000))
    await spool._db._db.execute_fetchall("DELETE FROM audio WHERE number = 11")
    with pytest.raises(SpoolError) as caught:
        await read(spool, row.id)
    assert caught.value.error_code == "spool_audio_missing"


async def test_recordings_can_be_chosen_by_state_and_recorder(spool: Spool) -> None:
    """What the command line asks for."""
    stored = await bring_to(spool, Custody.STORED, 1)
    listed = await bring_to(spool, Custody.LISTED, 2)
    other = await bring_to(spool, Custody.STORED, 1, serial="OTHER")
    assert await spool.recordings() == [stored, listed, other]
    assert await spool.recordings(states=[Custody.STORED]) == [stored, other]
    assert await spool.recordings(states=[Custody.STORED], serial=SERIAL) == [stored]
    assert await spool.recordings(states=[]) == []
    assert await spool.recordings(newest=1) == [other]
    assert await spool.recordings(file_id=stored.key.file_id[:7], serial=SERIAL, states=[Custody.STORED]) == [stored]
    assert await spool.recordings(file_id="%") == []


async def test_what_is_asked_all_the_time_reads_no_recordings_of_years(spool: Spool, clock: TurnableClock) -> None:
    """Status every few seconds, each upload, each visit: what is done and over is found past by an index."""
    ask = spool._db.read
    plans: list[str] = []

    async def noted(sql: str, parameters: Sequence[Value] = ()) -> list[sqlite3.Row]:
        plans.extend(f"{row['detail']}: {sql}" for row in await ask("EXPLAIN QUERY PLAN " + sql, parameters))
        return await ask(sql, parameters)

    spool._db.read = noted  # type: ignore[method-assign]  # to see the statements
    await spool.usage()
    await spool.held()
    await spool.next_upload(clock.now)
    await spool.next_upload_at()
    await spool.recordings(states=OPEN)
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN recordings") and "COVERING INDEX" not in plan]


async def test_an_unknown_recording_is_an_error(spool: Spool) -> None:
    """A number that was never given has no row and no timeline."""
    with pytest.raises(SpoolError, match="no recording number 7") as caught:
        await spool.recording(7)
    assert caught.value.error_code == "spool_unknown_recording"
    with pytest.raises(SpoolError):
        await spool.timeline(7)


def test_memory_does_not_grow_with_a_recording(tmp_path: Path) -> None:
    """Storing and reading 64 MiB takes no more than a few pieces above what 1 MiB takes."""
    assert run_child("memory", tmp_path) < GROWTH_KIB
