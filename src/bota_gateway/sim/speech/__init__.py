"""Recordings of real human speech as real Ogg Opus files, for the demo and the tests.

Origin and licence: README.md beside this file. ``scripts/make-speech`` makes them anew.
"""

import json
from dataclasses import dataclass
from importlib.resources import files

from bota_gateway.sim.speech.ogg import lengthen


@dataclass(frozen=True, slots=True)
class Speech:
    """One recording that a simulated recorder can hold."""

    name: str
    duration_s: int

    def read(self) -> bytes:
        """Return the whole file: Ogg Opus, one channel."""
        return files(__name__).joinpath(self.name).read_bytes()


def speeches() -> tuple[Speech, ...]:
    """Return the seven recordings, shortest first: from seconds to minutes, in all about 1 MB."""
    index = json.loads(files(__name__).joinpath("speech.json").read_text())
    return tuple(Speech(**entry) for entry in index)


def long_recording(at_least_bytes: int) -> tuple[bytes, int]:
    """Return an Ogg Opus file of the size asked for or a little more (one Ogg page at most), and its length in seconds.

    It repeats the longest recording as one continuous stream, so it plays, however long it is; the same size always
    gives the same bytes.
    """
    return lengthen(speeches()[-1].read(), at_least_bytes)
