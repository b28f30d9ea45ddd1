"""What is left on the hub when everything has been played, before the judge of custody."""

import asyncio
import base64
import io
import tarfile
import tempfile
import time
from pathlib import Path

from bota_gateway.config import SpoolSettings
from support.evidence import Evidence
from support.gathering import cloud_copies, spool_facts
from support.judge import judge
from vm.scene import ScenarioError, Scene

SHOWN = 5
"""Violations that are told; there may be one for each recording."""


async def custody(scene: Scene) -> str:
    """After all that: spool, cloud and log of the hub are put before the judge of custody, who must find nothing."""
    await scene.gateway(**scene.config)  # whatever it was
    await scene.machine.run("systemctl stop bota-gateway")
    packed = await scene.machine.run("tar -C /var/lib -cz bota-gateway | base64 -w 0")
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as files:
            await asyncio.to_thread(files.extractall, directory, filter="data")
        spool = Path(directory, "bota-gateway")
        facts = await spool_facts(SpoolSettings(directory=spool, min_free_bytes=0), time.time)
    lines = scene.machine.journal.lines
    evidence = Evidence(
        made=scene.made,
        still_held=[],
        told=[],
        cloud=cloud_copies(scene.cloud),
        rows=facts.rows,
        audio=facts.audio,
        timelines=facts.timelines,
        recorders=facts.recorders,
        events=[line.event for line in lines if line.event],
        texts={"the journal": "\n".join(line.text for line in lines).encode()},
        secrets={scene.cloud.api_key: "the API key"},
    )
    wrongs = judge(evidence)
    if wrongs:
        raise ScenarioError(f"{len(wrongs)}: " + "; ".join(map(str, wrongs[:SHOWN])))
    return f"{len(facts.rows)} recordings, {len(evidence.events)} log events, nothing wrong"


PLAYS = (custody,)
