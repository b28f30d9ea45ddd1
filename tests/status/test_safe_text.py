"""Text that came over the air or from the cloud is shown, never obeyed."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.status import words


@given(st.text())
def test_printable_text_stays_and_nothing_else(text: str) -> None:
    """Letters stay what they are; each control character becomes one visible one."""
    shown = words.printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(after in (before, "\N{REPLACEMENT CHARACTER}") for before, after in zip(text, shown, strict=True))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_json_means_the_same_and_can_not_move_the_cursor(value: dict[str, object]) -> None:
    """A program reads back exactly what was written, and a terminal has nothing in it to obey."""
    text = words.json_text(value, indent=2)
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))


def test_letters_of_any_language_stay_readable_in_json() -> None:
    """Escapes are for what can't be shown, not for what is not English."""
    assert words.json_text({"name": "Büro 東"}) == '{"name": "Büro 東"}'
