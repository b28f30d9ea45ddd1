"""Counters that outlive the process; what they count is for others to say."""

from collections.abc import Mapping

from bota_gateway.spool.custody import Step
from bota_gateway.spool.database import Transaction
from bota_gateway.spool.part import Part


class Counting(Part):
    """Counters by scope and name."""

    async def counters(self) -> dict[tuple[str, str], int]:
        """All of them, by scope and name."""
        rows = await self._db.read("SELECT scope, name, count FROM counters")
        return {(row["scope"], row["name"]): row["count"] for row in rows}

    async def keep_counters(self, counters: Mapping[tuple[str, str], int]) -> None:
        """Remember these values; counters not named keep theirs. A power cut may undo it, as custody.py says."""

        async def work(tx: Transaction) -> None:
            for (scope, name), count in counters.items():
                await tx.write(
                    """
                    INSERT INTO counters (scope, name, count, changed_at) VALUES (?, ?, ?, ?)
                    ON CONFLICT (scope, name) DO UPDATE SET count = excluded.count, changed_at = excluded.changed_at
                    """,
                    (scope, name, count, tx.now),
                )

        await self._transaction(Step.COUNT, work)
