"""What becomes known of a visit's transfers only when its link is over: how strongly its recorder is heard then."""

import asyncio

from bota_gateway.errors import SpoolCorruptError, SpoolError, SpoolWriteError
from bota_gateway.radio import PRESENT_S, Radio
from bota_gateway.spool import Spool
from bota_gateway.sync.progress import LinkProgress


async def note_signal(radio: Radio, spool: Spool, link: LinkProgress) -> None:
    """Add ``rssi_end`` to the transfers of a link that has just ended.

    While linked nobody tells a signal strength, so it is that of the first advertisement which the link's adapter hears
    afterwards. A recorder that is not heard within `PRESENT_S` is out of range, off, or held by a phone, and one that
    is linked again has another story to tell: then the figure is missing, which harms nothing.

    Raises:
        SpoolWriteError: durability is lost.
        SpoolCorruptError: likewise.
    """
    if not link.ends:
        return
    try:
        async with asyncio.timeout(PRESENT_S):
            rssi = await radio.heard_again(link.adapter, link.address)
    except TimeoutError:
        return
    if rssi is None:
        return
    try:
        await spool.note_signal(link.ends, rssi)
    except (SpoolWriteError, SpoolCorruptError):
        raise  # for the whole daemon to decide
    except SpoolError:
        return  # which the spool has logged
