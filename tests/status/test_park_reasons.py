"""Whatever a recording can be parked for: the remedy is named, and a retry brings it back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bota_gateway
from bota_gateway.cloud.s3_codes import Why as OfS3
from bota_gateway.model import Custody
from bota_gateway.protocol.errors_on_wire import WIRE_ERRORS, transfer_code
from bota_gateway.spool import Spool
from bota_gateway.status.remedies import BY_CODE
from bota_gateway.sync.pull import QUARANTINE
from bota_gateway.sync.reasons import Why as OfTransfer
from bota_gateway.upload.setbacks import Why as OfUpload
from support.spooling import TurnableClock, bring_to, settings_for

SOURCES = Path(bota_gateway.__file__).parent
PUT_CODES = {OfS3.TOO_LARGE, OfS3.NO_BUCKET, OfS3.REFUSED, OfS3.REDIRECTED, OfS3.SIGNATURE_REFUSED}
"""What a PUT is parked for: ``Parked(outcome.code, ...)``."""


def calls(room: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a room, with the name of what is called."""
    for path in sorted((SOURCES / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func).rpartition(".")[2], node


def parked_by_upload() -> Iterator[str]:
    """Codes that stand where upload gives up until a human helps."""
    yield from (OfUpload.NOT_PROVED, OfUpload.FAILED)  # setbacks of their own kind
    for name, call in calls("upload"):
        if name != "Parked":
            continue
        match ast.unparse(call.args[0]):
            case reason if reason.startswith("Why."):
                yield OfUpload[reason.removeprefix("Why.")]
            case "outcome.code":
                yield from PUT_CODES
            case "gone.code":
                yield OfUpload.GONE
            case "rotten.code":
                yield OfUpload.BIT_ROT
            case other:
                raise AssertionError(f"what is parked for {other}?")


def parked_by_transfers() -> Iterator[str]:
    """Codes of failures that no further try mends."""
    yield from QUARANTINE
    yield OfTransfer.EMPTY
    yield from (transfer_code(code) for code, line in WIRE_ERRORS.items() if line.retry == "never")
    for name, call in calls("protocol"):
        if name == "_fail" and len(call.args) == 3 and ast.unparse(call.args[2]) == "'never'":
            yield str(ast.literal_eval(call.args[0]))


CODES = sorted({*map(str, parked_by_upload()), *map(str, parked_by_transfers())})


def test_the_reasons_are_found() -> None:
    """Those that everybody knows are among them, and every reason of a transfer has its own words."""
    assert {"recorder_unbound", "recorder_rebound", "spool_bit_rot", "s3_refused", "transfer_too_long"} <= set(CODES)
    assert set(map(str, parked_by_transfers())) == set(map(str, OfTransfer))


@pytest.mark.parametrize("code", CODES)
def test_every_reason_to_park_names_its_remedy(code: str) -> None:
    """Somebody on a ladder reads what to do, in words of this very case, and never "nothing"."""
    remedy = BY_CODE[code]
    assert not remedy.startswith("Nothing")
    assert len(remedy.split()) > 4


@pytest.mark.parametrize("code", CODES)
async def test_every_reason_to_park_ends_with_a_retry(tmp_path: Path, code: str) -> None:
    """All of one cause, or one alone: back where they were, with nothing left of the wait; others stay parked."""
    async with Spool.open(settings_for(tmp_path), TurnableClock()) as spool:
        states = [Custody.LISTED, Custody.CAPTURED, Custody.CREATED, Custody.PUT, Custody.COMPLETING]
        rows = [await bring_to(spool, state, number) for number, state in enumerate(states, start=1)]
        other = await bring_to(spool, Custody.CAPTURED, 9)
        await spool.park(other.id, code="of_another_kind", detail="stays")
        for row in rows:
            await spool.park(row.id, code=code, detail="in words")
        assert await spool.retry(rows[0].id) == 1
        assert await spool.retry(code=code) == len(rows) - 1
        for row, state in zip(rows, states, strict=True):
            again = await spool.recording(row.id)
            assert (again.state, again.parked_reason, again.waiting_for, again.attempts) == (state, None, None, 0)
        assert (await spool.recording(other.id)).state is Custody.PARKED
