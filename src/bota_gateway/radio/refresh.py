"""Has BlueZ forget a recorder whose remembered state stands in the way, so that the next connect starts clean.

BlueZ keeps a recorder's services on disk and hardly looks again (docs/design-notes.md, "When the radio falls silent").
After a firmware update that moved them, reads and writes may go to wrong places, for ever. And a connect that BlueZ
believes to be under way makes it refuse every other. A recorder that has lost the keys of a pairing, as by a reset,
ends every link at which BlueZ uses its own.
"""

import asyncio
from collections import Counter

import structlog

from bota_gateway.radio import bluez
from bota_gateway.radio.cached import devices_of, is_kept_by_somebody
from bota_gateway.radio.classify import BACKEND_FAILURES, describe
from bota_gateway.radio.const import ENDED_EARLY_AT_MOST, IN_PROGRESS_AT_MOST, REFRESH_AGAIN
from bota_gateway.radio.sightings import SightingBook
from bota_gateway.radio.station import Station
from bota_gateway.radio.tally import Count, Tally

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Refresher:
    """Removes recorders from BlueZ, each once, and again only after growing waits.

    Args:
        book: What is removed must be heard again before it can be connected.
        tally: Where it counts.
    """

    def __init__(self, book: SightingBook, tally: Tally) -> None:
        self._book = book
        self._tally = tally
        self._refreshed: dict[str, tuple[int, float]] = {}
        """How often, and the loop time until which it is of no use again; by address."""
        self._in_progress: Counter[str] = Counter()
        """Connects in a row that BlueZ refused because one is under way, by address."""
        self._ended_early: Counter[str] = Counter()
        """Links in a row of a paired recorder that ended before it answered anything, by address."""

    async def refresh(self, address: str, station: Station, reason: str, *, pairing: bool = False) -> bool:
        """Have BlueZ forget the recorder, unless that was of no use lately; whether it did. Never raises.

        Args:
            address: Whom.
            station: On which adapter.
            reason: Why, in words.
            pairing: Also if it is paired, unless a person has trusted or blocked it.
        """
        times, not_before = self._refreshed.get(address, (0, 0.0))
        now = asyncio.get_running_loop().time()
        if now < not_before or not station.adapter.on_bluez or station.scanner.hci is None:
            return False
        wait = REFRESH_AGAIN.step(times)
        self._refreshed[address] = (times + 1, now + wait)
        if not await self._remove(address, station.scanner.hci, pairing=pairing):
            return False
        log.warning("recorder_refreshed", reason=reason, again_after_s=wait, **_named(address, station))
        self._tally.add(station.key, Count.GATT_REFRESHES)
        self._book.forget(address)
        return True

    async def refused_in_progress(self, address: str, station: Station) -> None:
        """BlueZ says that a connect is under way, although none of ours is. Never raises."""
        self._in_progress[address] += 1
        if self._in_progress[address] >= IN_PROGRESS_AT_MOST:
            del self._in_progress[address]
            await self.refresh(address, station, "BlueZ holds on to a connect that is nobody's")

    async def ended_early(self, address: str, station: Station) -> None:
        """The link of a paired recorder ended before it answered anything. Never raises."""
        self._ended_early[address] += 1
        if self._ended_early[address] >= ENDED_EARLY_AT_MOST:
            del self._ended_early[address]
            reason = "its links end at once, as they do when it has lost the keys of its pairing"
            await self.refresh(address, station, reason, pairing=True)

    def connected(self, address: str) -> None:
        """It could be connected after all."""
        self._in_progress.pop(address, None)

    def answered(self, address: str) -> None:
        """It answers over a link: its keys, if it has any, are good."""
        self._ended_early.pop(address, None)

    async def _remove(self, address: str, hci: str, *, pairing: bool) -> bool:
        path = f"{bluez.adapter_path(hci)}/dev_{address.replace(':', '_')}"
        try:
            device = devices_of(await bluez.managed_objects(), hci).get(path)
            if device is None:
                return False
            if is_kept_by_somebody({**device, "Paired": False, "Bonded": False} if pairing else device):
                advice = f"It is paired: bluetoothctl remove {address}, should it fail for long."
                log.warning("recorder_refresh_spared", address=address, adapter=hci, advice=advice)
                return False
            await bluez.remove_device(path)
        except BACKEND_FAILURES as error:
            log.warning("recorder_refresh_failed", address=address, adapter=hci, reason=describe(error))
            return False
        return True


def _named(address: str, station: Station) -> dict[str, object]:
    return {"address": address, "adapter": station.scanner.hci}
