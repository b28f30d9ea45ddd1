"""Somebody who looks at what is parked, removes the causes, and asks for another try."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bota_gateway.model import Custody, Membership, Recording
from support.chaos.setup import UNKNOWN_FORMAT, Setting

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld

ROUNDS: Final = 8
"""Times that causes are removed before something must have settled that did not: one recording may have several."""

REBOUND: Final = "recorder_rebound"


class Human:
    """Helps where only a human can."""

    def __init__(self, world: "ChaosWorld") -> None:
        self._world = world

    async def settle(self) -> None:
        """Bring everything that is parked to its end; what can't be is the world's trouble."""
        for _ in range(ROUNDS):
            parked = await self._parked()
            if not parked:
                return
            await self._mend_settings({row.parked_reason for row in parked})
            for serial in sorted({row.key.serial for row in parked}):
                await self._set_right(serial, [row for row in parked if row.key.serial == serial])
            if not await self._world.settles():
                return
        rows = [f"{row.key} {row.parked_reason}: {row.waiting_detail}" for row in await self._parked()]
        self._world.trouble.append(f"parked again after all that a human can do: {'; '.join(rows)}")

    async def _parked(self) -> list[Recording]:
        rows = await self._world.spool.recordings(states={Custody.PARKED})
        for_good = self._world.scenario.waits
        return [
            row
            for row in rows
            if not row.forgotten_by_hand and for_good.get((row.key.serial, row.key.file_id)) != row.parked_reason
        ]

    async def _mend_settings(self, codes: set[str | None]) -> None:
        world = self._world
        settings = {name: dict(section) for name, section in world.scenario.settings.items()}
        for one in world.schedule.happenings:
            if isinstance(one, Setting) and one.mended is not None and one.asks in codes:
                settings[one.section][one.key] = one.mended
        if UNKNOWN_FORMAT in codes:
            settings["cloud"]["content_type"] = "audio/ogg"
        if settings != world.scenario.settings:
            world.scenario = replace(world.scenario, settings=settings)
            await world.stop(back_after_s=0.0)
            await world.revive()
            await world.life.gateway.ready.wait()

    async def _set_right(self, serial: str, parked: Sequence[Recording]) -> None:
        """Bind the recorder to whom its recordings were captured for, one user at a time, and retry those."""
        rebound = [row for row in parked if row.parked_reason == REBOUND]
        user = min((row.binding.end_user_id or "" for row in rebound), default="")
        if user:
            self._world.rebind(serial, user)
        elif any(row.binding.membership is Membership.UNBOUND for row in parked):
            self._world.rebind(serial)
        for row in parked:
            if row not in rebound or (row.binding.end_user_id or "") == user:
                await self._world.spool.retry(row.id)
