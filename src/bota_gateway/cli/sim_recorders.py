"""What ``bota-gateway sim recorder`` serves, and where."""

import hashlib
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import click

from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import RecorderOptions, StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.serve import offer_adapter, serve
from bota_gateway.sim.speech import speeches
from bota_gateway.sim.virtual_radio import VirtualRadio

FIRST_START = 1_790_000_000
"""When the first recording was made, September 2026; the others follow an hour apart."""
OGG = b"OggS"
"""First bytes of every Ogg file (RFC 3533)."""
BYTES_PER_S = 4000
"""32 kbit/s, the published rate of the recorders' audio: makes a length for recordings that have none."""


def recordings(files: Sequence[Path], made: Sequence[int], seed: int) -> list[tuple[int, bytes]]:
    """Length in seconds and bytes of each recording; the demo's speech where nothing is named."""
    given = [path.read_bytes() for path in files]
    given += [_made_up(size, f"{seed}/{number}") for number, size in enumerate(made)]
    if given:
        return [(max(1, len(data) // BYTES_PER_S), data) for data in given]
    return [(speech.duration_s, speech.read()) for speech in speeches()]


def _made_up(size: int, seed: str) -> bytes:
    """Noise that begins as an Ogg file does, lest a gateway park it as no audio."""
    return OGG[:size] + random.Random(seed).randbytes(max(0, size - len(OGG)))  # noqa: S311 - repeatable on purpose


def parse_fault(text: str) -> Fault:
    """``KIND`` or ``KIND,name=value,...``, such as ``drop,at=100`` or ``error,code=0x14,times=2``.

    Raises:
        click.BadParameter: naming what is wrong, and what there is.
    """
    kind, *details = text.split(",")
    if kind not in set(FaultKind):
        raise click.BadParameter(f"there is no fault {kind!r}; there are: {', '.join(FaultKind)}")
    given: dict[str, str | int | float] = {}
    for detail in details:
        name, _, value = detail.partition("=")
        if name not in _DETAILS:
            raise click.BadParameter(f"{kind} has no {name!r}; there are: {', '.join(_DETAILS)}")
        try:
            given[name] = _DETAILS[name](value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no value for {name}") from None
    return Fault(FaultKind(kind), **given)  # type: ignore[arg-type]  # each value was made by its field's own reader


def _whole(text: str) -> int:
    return int(text, 0)


_DETAILS: dict[str, Callable[[str], str | int | float]] = {
    "recording": str,
    "at": _whole,
    "rate": float,
    "times": _whole,
    "seconds": float,
    "code": _whole,
}


async def serve_virtual(
    where: str,
    serials: Sequence[str],
    held: Sequence[tuple[int, bytes]],
    faults: Sequence[Fault],
    bytes_per_s: float,
    seed: int,
) -> None:
    """Serve recorders on a virtual radio, and an adapter on it for a gateway in another process."""
    radio = VirtualRadio(bytes_per_s=bytes_per_s, seed=seed)
    async with AsyncExitStack() as stack:
        stack.callback(radio.close)
        for serial in serials:
            options = RecorderOptions(att_mtu=509)
            wrongs = Faults(*faults, seed=seed)
            recorder = SimRecorder(
                radio, serial=serial, recordings=_stored(serial, held), options=options, faults=wrongs
            )
            await stack.enter_async_context(recorder)
        on_the_air = f"recorders on the air: {len(serials)}; the adapter is at {where}"
        await offer_adapter(radio, where, ready=lambda: click.echo(on_the_air))


async def serve_real(where: str, serial: str, held: Sequence[tuple[int, bytes]], faults: Sequence[Fault]) -> None:
    """Serve one recorder on a real controller."""
    click.echo(f"{serial} comes up on {where}")
    await serve(where, SimRecorder(serial=serial, recordings=_stored(serial, held), faults=Faults(*faults)))


def _stored(serial: str, held: Sequence[tuple[int, bytes]]) -> list[StoredRecording]:
    return [
        StoredRecording(
            hashlib.sha256(f"{serial}/{number}".encode()).hexdigest()[:8], FIRST_START + 3600 * number, seconds, data
        )
        for number, (seconds, data) in enumerate(held)
    ]
