from bota_gateway.config import SpoolSettings
from bota_gateway.spool import Spool


async def test_counters_outlive_the_process(settings: SpoolSettings) -> None:
    """The last value kept of each is there in the next life; those not named keep theirs."""
    async with Spool.open(settings, lambda: 0.0) as spool:
        assert await spool.counters() == {}
        await spool.keep_counters({("hci0", "scan_restarts"): 1, ("", "bluetooth_losses"): 2})
        await spool.keep_counters({("hci0", "scan_restarts"): 5})
    async with Spool.open(settings, lambda: 0.0) as spool:
        assert await spool.counters() == {("hci0", "scan_restarts"): 5, ("", "bluetooth_losses"): 2}


async def test_counting_wakes_nobody(settings: SpoolSettings) -> None:
    """Sync and upload wait for changes of custody; a counter is none."""
    async with Spool.open(settings, lambda: 0.0) as spool:
        before = spool.revision
        await spool.keep_counters({("hci0", "scan_restarts"): 1})
        assert spool.revision == before
