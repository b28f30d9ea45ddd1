"""What a shell offers for a name that was begun: recorders and recordings, as the running gateway knows them.

For ``shell_complete`` of click's parameters.
"""

from typing import Any

import click

from bota_gateway.cli import options
from bota_gateway.errors import GatewayError
from bota_gateway.status import client


def serials(ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Recorders that begin so."""
    return [one["serial"] for one in _asked(ctx, "recorders") or () if (one["serial"] or "").startswith(typed)]


def file_ids(ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Recordings that begin so."""
    return [one["file_id"] for one in _asked(ctx, "recordings") or () if one["file_id"].startswith(typed)]


def names(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    """Recorders and recordings that begin so."""
    return serials(ctx, param, typed) + file_ids(ctx, param, typed)


def reasons(ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """What recordings are parked for."""
    return [one["code"] for one in (_asked(ctx, "status") or {"held": []})["held"] if one["code"].startswith(typed)]


def _asked(ctx: click.Context, question: str) -> Any:
    """What the gateway of the words typed so far says; where none answers nothing is offered."""
    try:
        path = options.socket_of(ctx.params.get("config_path"), ctx.params.get("socket_path"))
        return client.ask(path, question)
    except GatewayError:
        return None
