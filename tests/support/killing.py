"""Ends the real daemon again and again in the middle of its work, then leaves it alone and has it judged.

Where it is when it is struck is chosen by its own signs of progress: a plan names one sign for each life, and how long
after it the blow falls. A seed makes the same plan again, though never quite the same moments:
these are real processes.
"""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Custody
from bota_gateway.spool.const import DATABASE_NAME
from support.evidence import Evidence, Held
from support.gathering import copies_in, files_of, spool_facts, states_on_disk
from support.judge import Violation, judge
from support.place import Place
from support.processes import Program
from support.watched_sim import MORE, told_in

SIGNS: Final = {
    "starting": 1.0,
    "opening": 0.03,
    "gateway_started": 0.4,
    "connected": 0.15,
    "list_read": 0.05,
    "transfer_started": 0.6,
    "recording_captured": 0.1,
    "recording_created": 0.2,
    "upload_started": 0.3,
    "upload_sent": 0.3,
    "recording_stored": 0.1,
    "recording_confirmed": 0.2,
    "visit_ended": 0.4,
}
"""Signs of progress, and how many seconds after them a blow falls at most. The first two are no log events: the process
runs, and SQLite's log is there, which it is while tables are made or brought up to date. The seconds cover what
comes next where it takes its time."""

OPENING: Final = "opening"
VISIT_ENDED: Final = "visit_ended"
SIGN_WITHIN_S: Final = 15.0
"""A sign that does not come is not waited for longer: the blow falls all the same."""
ENOUGH: Final = 10
"""Recordings that are not home yet, so that no life runs out of work."""
GLANCE_S: Final = 0.002
"""Between two looks for a file."""
DONE_WITHIN_S: Final = 90.0
"""The last life, which nobody disturbs, on a machine that is busy with other tests."""

MOVING: Final = frozenset(Custody) - {Custody.LISTED, Custody.CONFIRMED, Custody.FORGOTTEN, Custody.PARKED}
"""States in which the gateway has something in hand."""

NOTHING: Final = "nothing in hand"

SLOWLY: Final = (
    {"route": "* /*", "fault": {"kind": "slow", "delay_s": 0.12}, "times": None},
    {"route": "PUT s3", "fault": {"kind": "slow_reader", "bytes_per_s": 200_000}, "times": None},
)
"""The cloud takes its time, so that calls are under way when a blow falls."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One end of the daemon: so long after a sign."""

    sign: str
    delay_s: float


def plan(seed: str, signs: Sequence[str] = tuple(SIGNS)) -> list[Blow]:
    """One blow for each sign, in an order and after times that the seed chooses.

    A new spool is opened only once, and after the end of a visit there is little left to do.
    """
    rng = random.Random(seed)
    order = rng.sample(signs, len(signs))
    order.sort(key=lambda sign: (sign == VISIT_ENDED) - (sign == OPENING))
    return [Blow(sign, rng.uniform(0, SIGNS[sign])) for sign in order]


@dataclass
class Blows:
    """What the daemon was doing whenever it was struck."""

    place: Place
    lives: list[Program] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Signs that did not come."""
    struck: Counter[str] = field(default_factory=Counter)
    """How often something was in each state on the disk; a blow counts for each state that it finds."""

    async def strike(self, blow: Blow, number: signal.Signals) -> tuple[int, float]:
        """A life until the blow, and its end: its exit code, and how many seconds the end took."""
        await self._give_work()
        async with self.place.gateway() as hub:
            self.lives.append(hub)
            if not await self._sees(hub, blow.sign):
                self.missed.append(blow.sign)
            await asyncio.sleep(blow.delay_s)
            began = asyncio.get_running_loop().time()
            with suppress(ProcessLookupError):  # its exit code will tell
                hub.signal(number)
            code = await hub.end()
            took = asyncio.get_running_loop().time() - began
        states = await asyncio.to_thread(states_on_disk, self.spool)
        self.struck.update([state.value for state in set(states) & MOVING] or [NOTHING])
        return code, took

    async def leave_alone(self) -> list[Violation]:
        """Let it do everything that is left, an hour later and with a cloud that is quick; then stop it, and judge."""
        await self.place.control("DELETE", "/faults")
        async with self.place.gateway(later=True) as hub:
            self.lives.append(hub)
            made = len(self.made)
            async with asyncio.timeout(DONE_WITHIN_S):
                await hub.event("gateway_started")
                await self.place.until(lambda rows: _all_over(rows, made), "recordings")
                # A recorder's last recording is home before its visit ends, and only an ended one plans the next.
                await self.place.until(_all_have_a_next_visit, "recorders")
            answers = await self._diagnostics()
            hub.signal(signal.SIGTERM)
            assert await hub.end() == 0, hub.said
        return judge(await self._evidence(answers))

    @property
    def spool(self) -> Path:
        """Its directory."""
        return self.place.directory / "hub" / "spool"

    @property
    def made(self) -> list[Held]:
        """All recordings there ever were."""
        return [Held(**one) for fact in _facts(self.place.recorder, "made") for one in fact]

    async def _give_work(self) -> None:
        """Have more recorded when there is little left to do."""
        made, recorder = len(self.made), self.place.recorder
        over = (await asyncio.to_thread(states_on_disk, self.spool)).count(Custody.CONFIRMED)
        if made - over < ENOUGH:
            recorder.signal(MORE)
            await recorder.line(lambda _line: len(self.made) > made)

    async def _sees(self, hub: Program, sign: str) -> bool:
        if sign == "starting":
            return True
        try:
            if sign == OPENING:
                log = self.spool / f"{DATABASE_NAME}-wal"
                async with asyncio.timeout(SIGN_WITHIN_S):
                    while not log.exists():  # noqa: ASYNC110 - nothing tells, and it is over soon
                        await asyncio.sleep(GLANCE_S)
            else:
                await hub.event(sign, within=SIGN_WITHIN_S)
        except (AssertionError, TimeoutError):
            return False
        return True

    async def _diagnostics(self) -> dict[str, bytes]:
        rows = await self.place.ask("recordings")
        answers = {question: await self.place.ask(question) for question in ("status", "recorders")}
        answers |= {
            f"timeline {row['file_id']}": await self.place.ask("timeline", recording=row["file_id"]) for row in rows
        }
        return {f"answer to {name}": json.dumps(answer).encode() for name, answer in answers.items()}

    async def _evidence(self, answers: dict[str, bytes]) -> Evidence:
        place = self.place
        place.recorder.signal(signal.SIGTERM)
        await place.recorder.end()
        state = await place.control("GET", "/state")
        wearers = {device["serial"]: device["end_user_id"] for device in state["devices"]}
        worn = {
            one: Held(one.serial, one.file_id, one.started_at, one.sha256, wearers[one.serial]) for one in self.made
        }
        facts = await spool_facts(SpoolSettings(directory=self.spool, min_free_bytes=0), time.time)
        texts = {f"log of life {number}": hub.said.encode() for number, hub in enumerate(self.lives, start=1)}
        return Evidence(
            made=list(worn.values()),
            still_held=[worn[Held(**one)] for fact in _facts(place.recorder, "still_held") for one in fact],
            told=[told_in(fact, worn) for fact in _facts(place.recorder, "told")],
            cloud=copies_in(state),
            rows=facts.rows,
            audio=facts.audio,
            timelines=facts.timelines,
            recorders=facts.recorders,
            events=[event for hub in self.lives for event in _events(hub)],
            texts=texts | answers | dict(files_of(place.directory / "hub")),
            secrets=dict(_facts(place.cloud, "secret")),
        )


def _all_over(rows: Sequence[dict[str, Any]], made: int) -> bool:
    return [row["state"] for row in rows] == [Custody.CONFIRMED] * made


def _all_have_a_next_visit(recorders: Sequence[dict[str, Any]]) -> bool:
    return all(one["next_attempt_at"] is not None for one in recorders)


def _facts(program: Program, what: str) -> Iterator[Any]:
    """What a watched simulator said about this."""
    for said in _events(program):
        if what in said:
            yield said[what]


def _events(program: Program) -> Iterator[dict[str, Any]]:
    """Its lines that are JSON; the last one before a kill may be half a line."""
    for line in program.lines:
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)
