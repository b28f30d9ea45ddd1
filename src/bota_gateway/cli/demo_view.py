"""What the demo shows: one live line per recording, and the table that proves each one at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bota_gateway.model import Custody
from bota_gateway.status.words import MISSING, duration, rate, size

WORDS = {
    None: "waiting for the hub",
    Custody.LISTED: "listed",
    Custody.RECEIVING: "receiving",
    Custody.CAPTURED: "safe in the spool",
    Custody.CREATED: "uploading",
    Custody.PUT: "in the bucket",
    Custody.COMPLETING: "being verified by the cloud",
    Custody.STORED: "stored and verified",
    Custody.CONFIRMING: "recorder may delete",
    Custody.CONFIRMED: "deleted on the recorder",
}
_DIGEST_SHOWN = 8
_DIGEST_SHOWN_NARROW = 4
"""Digits of a SHA-256 that are shown: enough to tell eight recordings apart; all 64 are compared."""
_ROOMY = 98
_WIDE = 116
"""Columns that the table needs with whole ids from the cloud, and then with eight digits of each digest."""
_PLAIN_STEP = 0.25
"""A plain log gets a progress line at each quarter of a long transfer."""


@dataclass(slots=True)
class Row:
    """One recording of the demo, as seen from all sides."""

    serial: str
    file_id: str
    seconds: int
    size_bytes: int
    recorder_sha256: str
    state: Custody | None = None
    received_bytes: int = 0
    bytes_per_s: float | None = None
    spool_sha256: str | None = None
    bucket_sha256: str | None = None
    cloud_id: str | None = None
    copies_in_cloud: int = 0
    deleted: bool = False
    waiting: str | None = None

    @property
    def done(self) -> float:
        """Share of the recording that has arrived here."""
        if self.state not in (None, Custody.LISTED, Custody.RECEIVING):
            return 1.0
        return min(self.received_bytes / self.size_bytes, 1.0) if self.state else 0.0

    @property
    def finished(self) -> bool:
        """Whether its custody is over, as far as the hub knows."""
        return self.deleted or self.state is Custody.CONFIRMED

    @property
    def holds(self) -> bool:
        """Whether this recording arrived once, bit-identical, and was deleted only then."""
        return (
            self.recorder_sha256 == self.spool_sha256 == self.bucket_sha256
            and self.copies_in_cloud == 1
            and self.deleted
        )


class View:
    """Shows rows while they change: a live table on a terminal, lines in a log, one moment of it in a picture."""

    def __init__(self, console: Console, *, plain: bool, picture: bool) -> None:
        self._console = console
        self._live = None if plain or picture else Live(console=console, refresh_per_second=8, transient=True)
        self._said: dict[str, tuple[Custody | None, int, str | None]] = {}
        self._picture_wanted = picture
        self._is_picture = picture

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, rows: Sequence[Row], headline: str) -> None:
        """Show how far things are."""
        if self._live:
            self._live.update(Group(Text(headline, style="bold"), _progress(rows, self._console.width)))
        elif not self._is_picture:
            self._say(rows)
        elif self._picture_wanted and sum(row.finished for row in rows) >= len(rows) / 2:
            self._picture_wanted = False
            self._console.print(Text(headline, style="bold"), _progress(rows, self._console.width), "", sep="\n")

    def _say(self, rows: Sequence[Row]) -> None:
        for row in rows:
            now = (row.state, int(row.done / _PLAIN_STEP), row.waiting)
            if self._said.get(row.file_id) != now:
                self._said[row.file_id] = now
                share = f" {row.done:.0%}" if row.state is Custody.RECEIVING else ""
                speed = f" at {rate(row.bytes_per_s)}" if row.state is Custody.RECEIVING and row.bytes_per_s else ""
                why = f" ({row.waiting})" if row.waiting else ""
                self._console.print(
                    f"{row.serial}  {row.file_id}  {WORDS.get(row.state, row.state)}{share}{speed}{why}"
                )


def _progress(rows: Sequence[Row], width: int) -> RenderableType:
    """One line for each row, whatever the terminal's width: the words at the end give way."""
    table = Table.grid(padding=(0, 2))
    for _ in range(5):
        table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        colour = "green" if row.finished else "cyan" if row.state else "dim"
        speed = f" at {rate(row.bytes_per_s)}" if row.state is Custody.RECEIVING and row.bytes_per_s else ""
        words = row.waiting or WORDS.get(row.state, str(row.state)) + speed
        table.add_row(
            row.serial,
            row.file_id,
            duration(row.seconds),
            size(row.size_bytes),
            ProgressBar(total=1.0, completed=row.done, width=20 if width >= _ROOMY else 12),
            Text(words, style=colour, no_wrap=True, overflow="ellipsis"),
        )
    return table


def result_table(rows: Sequence[Row], width: int) -> Table:
    """The proof: one line per recording, the same digest on the recorder, in the spool and in the bucket."""
    is_wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if width >= _ROOMY else 1, 0, 0))
    table.add_column("recorder", no_wrap=True)
    table.add_column("recording", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("goodput", justify="right", no_wrap=True)
    table.add_column("sha256: recorder = spool = bucket" if is_wide else "sha256 on all 3", no_wrap=True)
    table.add_column("cloud id", overflow="ellipsis")
    table.add_column("deleted", no_wrap=True)
    for row in rows:
        table.add_row(
            row.serial,
            row.file_id,
            f"{row.size_bytes:,}",
            rate(row.bytes_per_s),
            _digests(row, _DIGEST_SHOWN if is_wide else _DIGEST_SHOWN_NARROW),
            row.cloud_id or MISSING,
            Text("yes", "green") if row.deleted else Text("NO", "bold red"),
        )
    return table


def _digests(row: Row, shown: int) -> Text:
    text = Text(row.recorder_sha256[:shown])
    for other in (row.spool_sha256, row.bucket_sha256):
        same = other == row.recorder_sha256
        text.append(" = " if same else " ≠ ", "green" if same else "bold red")
        text.append((other or MISSING)[:shown])
    return text
