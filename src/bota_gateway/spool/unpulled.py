"""Bounds what a recorder can make the spool remember by listing things that are never pulled."""

import json
from collections.abc import Collection

from bota_gateway.model import FORGOTTEN_BY_HAND
from bota_gateway.spool.const import UNPULLED_KEPT
from bota_gateway.spool.database import Transaction


async def prune(tx: Transaction, serial: str, present: Collection[int]) -> None:
    """Delete the oldest rows of one recorder that were never pulled, beyond ``UNPULLED_KEPT`` of them.

    Nothing is lost by it: there are no bytes, and what the recorder still has it lists again. A recorder gone wild may
    name thousands of recordings that are not there, others at each visit. What a person had forgotten is not deleted:
    listed again, it would be pulled.

    Args:
        tx: The transaction of the list that was just read.
        serial: The recorder.
        present: Rows that this list shows.
    """
    doomed = """
        SELECT id FROM recordings WHERE serial = ? AND sha256 IS NULL AND state IN ('listed', 'parked', 'forgotten')
        AND parked_reason IS NOT ?
        AND id NOT IN (SELECT value FROM json_each(?)) AND id NOT IN (SELECT recording_id FROM audio)
        ORDER BY id DESC LIMIT -1 OFFSET ?
    """
    rows = await tx.fetch(doomed, (serial, FORGOTTEN_BY_HAND, json.dumps(sorted(present)), UNPULLED_KEPT))
    if rows:
        ids = json.dumps([row["id"] for row in rows])
        await tx.write("DELETE FROM timeline WHERE recording_id IN (SELECT value FROM json_each(?))", (ids,))
        await tx.write("DELETE FROM recordings WHERE id IN (SELECT value FROM json_each(?))", (ids,))
