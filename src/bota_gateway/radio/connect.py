"""Connecting to one recorder, and leaving nothing behind when it fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bota_gateway.config import NotifyMode
from bota_gateway.errors import ConnectError
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.classify import BACKEND_FAILURES, advise, classify, describe
from bota_gateway.radio.link import Link
from bota_gateway.radio.sightings import Sighting

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@asynccontextmanager
async def open_link(sighting: Sighting, adapter: Adapter, notify: NotifyMode) -> AsyncIterator[Link]:
    """A link to the recorder that was seen; closed when the block ends, or when connecting fails or is cancelled.

    Raises:
        ConnectError: classified by ``kind``; the next try starts clean.
    """
    link = Link(
        sighting.device, adapter=adapter.name, rssi=sighting.rssi, notify=notify, backend=adapter.client_backend
    )
    try:
        try:
            await link.open()
        except BACKEND_FAILURES as error:
            raise _connect_error(sighting, error) from error
        yield link
    finally:
        await link.close()


def _connect_error(sighting: Sighting, error: Exception) -> ConnectError:
    kind = classify(error)
    log.info(
        "connect_failed",
        address=sighting.address,
        adapter=sighting.adapter,
        rssi=sighting.rssi,
        kind=str(kind),
        reason=describe(error),
    )
    return ConnectError(
        f"Recorder at {sighting.address} could not be connected by {sighting.adapter}: {describe(error)}.",
        kind=kind,
        remedy=advise(error),
    )
