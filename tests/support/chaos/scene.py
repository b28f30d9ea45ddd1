"""A schedule in the words of the crash-point world: what is set up, and the bytes of recordings."""

from random import Random
from typing import Any

from bota_gateway.model import Custody
from bota_gateway.sim.options import StoredRecording
from support.chaos.schedule import Schedule
from support.chaos.setup import CloudOption, Generation, Recorded, Setting
from support.crash_world import Scenario

FLOOR = 1 << 20
OVER = frozenset({Custody.CONFIRMED, Custody.FORGOTTEN})


def scenario_of(schedule: Schedule) -> Scenario:
    """What the crash-point world is told."""
    interval, shortest, longest = schedule.pace.visits
    settings: dict[str, dict[str, Any]] = {
        "visits": {"interval_s": interval, "shortest_s": shortest, "longest_s": longest},
        "spool": {"min_free_bytes": FLOOR},
        "wire": {"max_recording_bytes": 1 << 20},
        "recorders": {},
        "cloud": {},
    }
    options: dict[str, Any] = {}
    profile = "e"
    waits: dict[tuple[str, str], str] = {}
    for one in schedule.happenings:
        match one:
            case Setting():
                settings.setdefault(one.section, {})[one.key] = one.value
            case CloudOption():
                options[one.option] = one.value
            case Generation():
                profile = one.profile.value
            case Recorded(waits_for=str(code)):
                waits[one.serial, one.file_id] = code
            case _:
                pass
    never = settings["recorders"].get("confirm") == "never"
    rests = {*OVER, Custody.PARKED, *({Custody.STORED} if never else ())}
    return Scenario(f"seed {schedule.seed}", {}, profile, options, settings, waits=waits, rests=frozenset(rests))


def stored_of(new: Recorded) -> StoredRecording:
    """The recording on its recorder."""
    data = Random(f"{new.serial} {new.file_id} {new.started_at} {new.size}").randbytes(new.size)
    start = b"\0\1\2\3" if new.form == "rubbish" else b"OggS"
    return StoredRecording(
        new.file_id,
        new.started_at,
        new.duration_s,
        (start + data[4:])[: new.size],
        encrypted_at_rest=new.form == "at_rest",
        p10=new.form == "p10",
        needs_v2=new.form == "v2",
    )
