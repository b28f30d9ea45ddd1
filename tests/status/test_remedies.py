"""Whatever can hold something up: there is a next step for it, in words of its own."""

import pytest

from bota_gateway import errors
from bota_gateway.cloud.api import REFUSALS
from bota_gateway.cloud.s3_codes import Why
from bota_gateway.errors import ConnectError, ConnectKind, GatewayError
from bota_gateway.status.remedies import BY_CODE

CODES = sorted(
    {
        *(code for code, _ in REFUSALS.values()),
        *(ConnectError("", kind=kind).error_code for kind in ConnectKind),
        *map(str, Why),
        *(one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, GatewayError)),
    }
)


@pytest.mark.parametrize("code", CODES)
def test_every_code_that_something_waits_for_has_a_next_step(code: str) -> None:
    """The spool and the cloud's pauses keep the code alone: a technician must not be left with it."""
    assert len(BY_CODE[code].split()) > 3
