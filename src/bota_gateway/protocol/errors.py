"""The one error every decoder of the wire raises."""


class DecodeError(Exception):
    """Bytes that are not what they were said to be.

    ``code`` is stable and short (``too_short``, ``unknown_packet_type``, ...); ``message`` says what was found.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def require(value: bytes, least: int, what: str) -> None:
    """Raise ``DecodeError`` ``too_short`` unless ``value`` has at least ``least`` bytes."""
    if len(value) < least:
        raise DecodeError("too_short", f"{what} needs at least {least} bytes, these are {len(value)}")
