"""The wire, pure: bytes in, values out, state machines without I/O (docs/protocol.md).

Encoder and decoder of one value stand side by side; the simulated recorder uses the other half of each pair.
Every decoder raises ``DecodeError`` for bytes it can't read, and nothing else.
"""

from bota_gateway.protocol.errors import DecodeError

__all__ = ["DecodeError"]
