"""Memory does not grow with a recording's length. scripts/bench memory shows the figure for 64 MiB."""

from pathlib import Path

import pytest

from support.place import Place
from support.processes import resident, restart_peak

MIB = 1 << 20
SIZE = 16 * MIB
"""Kept whole anywhere, it would show; and it takes a quarter of a minute, not a whole one."""
LIMIT = 20 * MIB
"""What the gateway may take beside its idle memory, whatever the length of a recording. Idle, it has 76 MiB."""


@pytest.mark.timeout(300)
async def test_a_long_recording_does_not_fill_memory(tmp_path: Path) -> None:
    """Pulled over the radio, spooled, uploaded and confirmed: never 20 MiB above idle."""
    async with Place.open(tmp_path, [], made=[SIZE], kilobytes_per_s=5000) as place, place.gateway() as hub:
        await hub.event("recorder_verified")
        idle = resident(hub.pid, "VmRSS")
        restart_peak(hub.pid)
        await hub.event("recording_deletion_seen", within=240)
        growth = resident(hub.pid, "VmHWM") - idle
        (stored,) = (await place.control("GET", "/state"))["objects"]
    assert stored["size"] == SIZE
    assert growth < LIMIT, f"{growth / MIB:.1f} MiB more than the {idle / MIB:.1f} MiB at idle"
