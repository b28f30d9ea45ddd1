"""``bota-gateway sim`` with a witness in it: ``python -m support.watched_sim SPOOL CONTROL sim recorder ...``.

The commands are the product's own. Beside what they say themselves they say, each on a line of JSON, what the judge
wants to know and nobody outside their process can see: what recorders hold at first and in the end, every word that
they are told about a recording with what was true at that moment, and every secret that the cloud hands out.
"""

import asyncio
import json
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bumble import att

import bota_gateway.sim.cloud
from bota_gateway.cli import sim_recorders
from bota_gateway.cli.main import main
from bota_gateway.cli.sim_recorders import FIRST_START
from bota_gateway.model import Custody
from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud
from bota_gateway.sim.options import StoredRecording
from support.doors import WatchedRecorder
from support.evidence import Held, OnDisk, Told, Word
from support.gathering import copies_in, held_by, on_disk
from support.spooling import noise
from support.witness import spy_on_secrets, word_about

MORE = signal.SIGUSR1
"""Asks for more recordings."""
NUMBERS = count(1)


def say(what: str, fact: object) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps({what: fact}) + "\n")
    sys.stdout.flush()


class ToldOn:
    """Hears for all recorders of this process what they are told.

    Args:
        spool: Directory of the gateway's spool.
        control: Where the cloud answers about itself.
    """

    def __init__(self, spool: Path, control: str) -> None:
        self._spool = spool
        self._control = control
        self._words = 0

    def heard(self, recorder: WatchedRecorder, request: att.ATT_Write_Request) -> None:
        """Look at once: before the recorder acts on it, and before the gateway has its answer."""
        if (about := word_about(recorder, request)) is None:
            return
        word, file_id, stored = about
        told = Told(
            order=self._words,
            at=time.time(),
            word=word,
            serial=recorder.serial,
            file_id=file_id,
            held=held_by(recorder.serial, stored) if stored else None,
            on_disk=on_disk(self._spool, recorder.serial, file_id),
            in_cloud=word is Word.CONFIRM and stored is not None and self._is_in_cloud(stored),
        )
        self._words += 1
        say("told", asdict(told))

    def _is_in_cloud(self, stored: StoredRecording) -> bool:
        with urllib.request.urlopen(f"{self._control}/state", timeout=30) as answer:  # noqa: S310 - loopback
            copies = copies_in(json.load(answer))
        return any(copy.complete and copy.stored_sha256 == stored.sha256 for copy in copies)


def record_more(recorders: Sequence[WatchedRecorder]) -> None:
    """Each recorder makes two recordings more."""
    for recorder in recorders:
        for _ in range(2):
            number = next(NUMBERS)
            data = b"OggS" + noise(20_000 + number * 7919 % 60_000, number)
            recorder.add(StoredRecording(f"{number:08x}", FIRST_START - 3600 * number, len(data) // 4000, data))
            say("made", [asdict(held_by(recorder.serial, recorder.recordings[-1]))])


def told_in(fact: Mapping[str, Any], worn: Mapping[Held, Held]) -> Told:
    """A word as it was said; ``worn`` says of each recording whose it is, which no recorder knows."""
    known = {
        "word": Word(fact["word"]),
        "held": worn[Held(**fact["held"])] if fact["held"] else None,
        "on_disk": tuple(OnDisk(Custody(row["state"]), row["sha256"]) for row in fact["on_disk"]),
    }
    return Told(**dict(fact) | known)


@contextmanager
def watched(spool: Path, control: str) -> Iterator[list[WatchedRecorder]]:
    """The commands run with witnesses during the block; gives the recorders that are made meanwhile."""
    ears = ToldOn(spool, control)
    recorders: list[WatchedRecorder] = []

    class Recorder(WatchedRecorder):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options, heard=ears.heard, acted=lambda _recorder: None)
            recorders.append(self)
            say("made", [asdict(held_by(self.serial, one)) for one in self.recordings])
            asyncio.get_running_loop().add_signal_handler(MORE, record_more, recorders)

    class Cloud(EmulatedCloud):
        """Without limits to the number of calls: what is tried is not the pace."""

        def __init__(self, *args: Any, options: CloudOptions, **more: Any) -> None:
            unlimited = replace(options, requests_per_minute=None, upload_urls_per_minute=None)
            super().__init__(*args, options=unlimited, **more)
            spy_on_secrets(self, lambda secret, what: say("secret", [secret, what]))

    with pytest.MonkeyPatch.context() as patch:  # the commands have no other way in
        patch.setattr(sim_recorders, "SimRecorder", Recorder)
        patch.setattr(bota_gateway.sim.cloud, "EmulatedCloud", Cloud)
        yield recorders


if __name__ == "__main__":
    with watched(Path(sys.argv[1]), sys.argv[2]) as made:
        try:
            main(sys.argv[3:])
        finally:
            say("still_held", [asdict(held_by(one.serial, stored)) for one in made for stored in one.recordings])
