"""``bota-gateway decode``: what bytes from a recorder mean. Needs no radio, no daemon and no configuration."""

import click

from bota_gateway.protocol import DecodeError
from bota_gateway.protocol.decode import KINDS
from bota_gateway.protocol.decode import decode as decode_bytes
from bota_gateway.status.words import json_text


@click.command(short_help="Say what bytes from a recorder mean.")
@click.argument("kind", type=click.Choice(sorted(KINDS)), metavar="KIND")
@click.argument("values", nargs=-1, required=True, metavar="HEX...")
@click.option("--json", "_as_json", is_flag=True, help="Accepted for symmetry: the answer is always JSON.")
@click.pass_context
def decode(ctx: click.Context, kind: str, values: tuple[str, ...], _as_json: bool) -> None:
    """Decode values of a characteristic, captured with a phone app or btmon, with the daemon's own decoders.

    HEX is one value; blanks and case do not matter, and "" is an empty one. Several are notifications in order. For
    'advertising' it is the payload of AD type 0xFF.

    \b
    KIND is one of:
      advertising  device-status  storage-info  recording-list  transfer-packet
      transfer  transfer-status  recording-status  device-settings
      provisioning-result  device-logs  diagnostics  capabilities-v2

    \b
    Example:
      bota-gateway decode transfer-packet 0134120300aabbcc
    """
    try:
        answer: dict[str, object] = decode_bytes(kind, [_bytes(value) for value in values])
    except DecodeError as wrong:
        answer = {"error": wrong.code, "message": str(wrong)}
    click.echo(json_text(answer))
    if "error" in answer:
        ctx.exit(1)


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise DecodeError("not_hex", f"{text!r} is not hexadecimal: two digits 0-9 a-f for each byte.") from None
