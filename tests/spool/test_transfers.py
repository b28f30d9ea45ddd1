"""How transfers ended, kept with each recording's timeline and read across all of them."""

from bota_gateway.spool import Spool
from support.spooling import SERIAL, TurnableClock, entry, meet, noise, pull

FIGURES: dict[str, str | int | float | bool | None] = {"adapter": "hci0", "gaps": 2, "rssi": -71}


async def test_every_end_of_a_transfer_keeps_its_figures(spool: Spool, clock: TurnableClock) -> None:
    """Captured, given up or parked: in the same transaction, and found again, the newest first."""
    first, second = await meet(spool, entry(1), entry(2))
    await spool.begin_receiving(first.id)
    await spool.abandon_receiving(first.id, code="transfer_gap", message="-", retry_at=None, figures=FIGURES)
    clock.now += 1
    await spool.begin_receiving(first.id)
    await spool.capture(
        first.id,
        size_bytes=0,
        sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        device_sha256=None,
        binding=first.binding,
        figures=FIGURES,
    )
    clock.now += 1
    await spool.begin_receiving(second.id)
    await spool.park(second.id, code="transfer_sha_mismatch", detail="-", figures=FIGURES)
    found = await spool.transfers(0, at_most=10)
    assert [(serial, line.happened) for serial, line in found] == [
        (SERIAL, "parked"),
        (SERIAL, "captured"),
        (SERIAL, "receiving_abandoned"),
    ]
    assert all(line.detail.items() >= FIGURES.items() for _, line in found)
    assert len(await spool.transfers(0, at_most=2)) == 2
    assert len(await spool.transfers(clock.now, at_most=10)) == 1


async def test_what_ended_without_figures_is_no_transfer_to_count(spool: Spool) -> None:
    """An upload that was parked, and transfers before there were figures."""
    (row,) = await meet(spool, entry(1))
    row = await pull(spool, row, noise(100))
    await spool.park(row.id, code="recorder_unbound", detail="-")
    assert await spool.transfers(0, at_most=10) == []


async def test_the_timelines_of_years_are_not_read_for_it(spool: Spool) -> None:
    """An index has the few lines that matter."""
    statements: list[str] = []
    read = spool._db.read

    async def noted(sql: str, parameters: tuple[float, ...] = ()) -> list[object]:
        statements.append(" / ".join(row["detail"] for row in await read("EXPLAIN QUERY PLAN " + sql, parameters)))
        return []

    spool._db.read = noted  # type: ignore[method-assign, assignment]  # to see the statement
    await spool.transfers(0, at_most=10)
    assert "USING INDEX timeline_of_transfers (at>?)" in statements[0]


async def test_what_is_heard_after_a_link_goes_to_its_transfers_alone(spool: Spool, clock: TurnableClock) -> None:
    """To the one that failed and the one that did not; not to an earlier one, nor to other lines of the timeline."""
    first, second = await meet(spool, entry(1), entry(2))
    earlier: list[int] = []
    ends: list[int] = []
    for of in (earlier, ends):
        await spool.begin_receiving(first.id)
        await spool.abandon_receiving(
            first.id, code="transfer_gap", message="-", retry_at=None, figures=FIGURES, ends=of
        )
        clock.now += 1
    await pull(spool, first, noise(100), figures=FIGURES, ends=ends)
    await spool.begin_receiving(second.id)
    await spool.park(second.id, code="transfer_sha_mismatch", detail="-", figures=FIGURES, ends=ends)
    before = [await spool.timeline(row.id) for row in (first, second)]
    await spool.note_signal(ends, -80)
    after = [await spool.timeline(row.id) for row in (first, second)]
    changed = [
        (now.happened, {**now.detail} == {**then.detail, "rssi_end": -80})
        for was, lines in zip(before, after, strict=True)
        for then, now in zip(was, lines, strict=True)
        if now != then
    ]
    assert changed == [("receiving_abandoned", True), ("captured", True), ("parked", True)]
    ended = [line.detail.get("rssi_end") for _, line in await spool.transfers(0, at_most=10)]
    assert ended == [-80, -80, -80, None]


async def test_a_line_that_is_gone_or_damaged_gets_no_figure(spool: Spool) -> None:
    """Its recording may have been forgotten meanwhile; the others get theirs, and the spool stays well."""
    ends: list[int] = []
    for row in await meet(spool, entry(1), entry(2), entry(3)):
        await pull(spool, row, noise(100, row.id), figures=FIGURES, ends=ends)
    gone, damaged, whole = ends
    await spool._db._db.execute_fetchall("DELETE FROM timeline WHERE id = ?", (gone,))
    await spool._db._db.execute_fetchall("UPDATE timeline SET detail = '{' WHERE id = ?", (damaged,))
    await spool._db._db.commit()
    await spool.note_signal([*ends, 12_345], -80)
    details = {row["id"]: row["detail"] for row in await spool._db.read("SELECT id, detail FROM timeline")}
    assert details[damaged] == "{"
    assert '"rssi_end":-80' in details[whole]
    assert sum("rssi_end" in detail for detail in details.values()) == 1
    assert spool.health.healthy
