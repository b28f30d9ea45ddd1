"""How answers are laid out: columns that stay whole, and words below the line that they explain.

A terminal has 80 columns, a pipe has none. So a row holds only what is short, whatever needs words follows it indented,
wrapped on a terminal and in one piece over a pipe, where ``grep`` finds it. Control characters are made visible
everywhere: some of what is shown came over the air.
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

from bota_gateway.status.words import printable

GAP = "  "
INDENT = "    "


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    """Print rows below their headings, each followed by its note where that has words.

    Args:
        headings: One for each column; a leading ``>`` aligns the column to the right.
        rows: Short texts.
        notes: One for each row.
    """
    names = [heading.removeprefix(">") for heading in headings]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    numeric = [heading.startswith(">") for heading in headings]
    click.secho(_line(names, widths, numeric), bold=True)
    for row, note in zip(rows, notes, strict=True):
        click.echo(_line(row, widths, numeric))
        if note:
            click.echo(wrapped(note))


def wrapped(text: str, first: str = INDENT, rest: str = INDENT) -> str:
    """The text behind ``first``, wrapped between words where a terminal reads it."""
    text = printable(text)
    if not sys.stdout.isatty():
        return first + text
    width = max(40, shutil.get_terminal_size().columns)
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(text)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    aligned = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return GAP.join(aligned).rstrip()
