"""Text that would move a technician's cursor, if it were obeyed instead of shown."""

from typing import Any

NASTY = "\x1b[2J\x9b1;1H\u202eoof\r\n"


def spoilt(answer: Any) -> Any:
    """The answer with nasty characters in every text."""
    match answer:
        case dict():
            return {key: spoilt(value) for key, value in answer.items()}
        case list():
            return [spoilt(value) for value in answer]
        case str():
            return answer + NASTY
        case _:
            return answer
