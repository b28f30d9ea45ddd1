"""An emulated cloud: the Bota API in three generations and an S3 bucket, both able to misbehave on command."""

from bota_gateway.sim.cloud.emulator import EmulatedCloud
from bota_gateway.sim.cloud.faults import (
    BitRot,
    CloudFaults,
    EditedAnswer,
    Fault,
    LateCommit,
    LostAfterCommit,
    LostBeforeCommit,
    OversizedBody,
    Redirect,
    ResetMidBody,
    Rule,
    S3Refusal,
    Slow,
    SlowReader,
    Stall,
    Status,
    TruncatedAnswer,
)
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions, ErrorVariant, IdempotencyMode, Paging

__all__ = [
    "ApiProfile",
    "BitRot",
    "CloudFaults",
    "CloudOptions",
    "EditedAnswer",
    "EmulatedCloud",
    "ErrorVariant",
    "Fault",
    "IdempotencyMode",
    "LateCommit",
    "LostAfterCommit",
    "LostBeforeCommit",
    "OversizedBody",
    "Paging",
    "Redirect",
    "ResetMidBody",
    "Rule",
    "S3Refusal",
    "Slow",
    "SlowReader",
    "Stall",
    "Status",
    "TruncatedAnswer",
]
