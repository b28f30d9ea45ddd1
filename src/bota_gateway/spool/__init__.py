"""The spool: one SQLite file that holds custody, its timeline and the audio. The only place that imports aiosqlite."""

from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Health, Moment, Probe
from bota_gateway.spool.forgetting import Loss, require_forgettable
from bota_gateway.spool.reading import Held
from bota_gateway.spool.room import SpoolUsage
from bota_gateway.spool.spool import Spool

__all__ = [
    "Happened",
    "Health",
    "Held",
    "Loss",
    "Moment",
    "Probe",
    "Spool",
    "SpoolUsage",
    "Step",
    "require_forgettable",
]
