"""What a person has paused; it stays so until a person resumes it, over restarts and power cuts."""

from bota_gateway.spool.custody import Step
from bota_gateway.spool.database import Transaction
from bota_gateway.spool.part import Part


class Pausing(Part):
    """Parts of the gateway that rest by hand."""

    async def paused(self) -> dict[str, float]:
        """Which parts, and since when (Unix seconds)."""
        rows = await self._db.read("SELECT part, since FROM paused")
        return {row["part"]: row["since"] for row in rows}

    async def pause(self, part: str) -> None:
        """Remember it; one that is paused already keeps its time."""

        async def work(tx: Transaction) -> None:
            await tx.write("INSERT INTO paused (part, since) VALUES (?, ?) ON CONFLICT DO NOTHING", (part, tx.now))

        await self._transaction(Step.PAUSE, work)

    async def resume(self, part: str) -> None:
        """Forget it."""

        async def work(tx: Transaction) -> None:
            await tx.write("DELETE FROM paused WHERE part = ?", (part,))

        await self._transaction(Step.PAUSE, work)
