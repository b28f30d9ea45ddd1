"""The Bota API and S3 as typed calls; the only room that imports httpx.

``BotaApi`` (api.py) is the way in. Below it: transport.py (one HTTP exchange and its hygiene), answers.py (what the
answers mean), contracts.py (generations of the API), budget.py (how often it may be called), s3.py (the PUT).
"""

from bota_gateway.cloud.answers import CloudDevice, CloudRecording, UploadTicket
from bota_gateway.cloud.api import BotaApi, Completed, Verifying
from bota_gateway.cloud.breaker import Pause
from bota_gateway.cloud.budget import Allowance, Budget, BudgetLimits, Call
from bota_gateway.cloud.clock import ServerClock
from bota_gateway.cloud.contracts import Contract, ContractChoice, NewRecording
from bota_gateway.cloud.s3 import PutKind, PutOutcome
from bota_gateway.cloud.transport import NEVER_SENT

__all__ = [
    "NEVER_SENT",
    "Allowance",
    "BotaApi",
    "Budget",
    "BudgetLimits",
    "Call",
    "CloudDevice",
    "CloudRecording",
    "Completed",
    "Contract",
    "ContractChoice",
    "NewRecording",
    "Pause",
    "PutKind",
    "PutOutcome",
    "ServerClock",
    "UploadTicket",
    "Verifying",
]
