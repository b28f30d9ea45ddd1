"""What a person can do about each reason: the spool, the log and the cloud's pauses keep only its code."""

import tomllib
from importlib.resources import files
from typing import Final

BY_CODE: Final[dict[str, str]] = tomllib.loads(
    files("bota_gateway.status").joinpath("remedies.toml").read_text("utf-8")
)
"""Generated from where each code is defined."""


def remedy(code: str | None) -> str | None:
    """The next step for a code; None where nothing is known to be wrong."""
    return None if code is None else BY_CODE.get(code, "See what it does with: bota-gateway tail.")
