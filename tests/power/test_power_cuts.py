"""What a power cut may undo, tried on a real file system; ``scripts/power-cuts`` does more rounds."""

import random
from collections.abc import Callable

import pytest

from support.power_cuts import cut_power, why_not

ROUNDS = 15
CONTROL_ROUNDS = 30
"""At most: without syncs nearly every cut loses something."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def seed() -> int:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"power can't be cut here: {reason}")
    return random.randrange(1 << 16)


def test_nothing_promised_is_lost_when_the_power_goes(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Every acknowledged capture is there bit-identical, no step is undone, and rows and journal agree."""
    outcome = cut_power(ROUNDS, seed)
    record_property("figures", str(outcome))
    assert (outcome.losses, outcome.rounds) == ([], ROUNDS), f"seed {seed}"
    assert outcome.promises > ROUNDS
    assert outcome.audio_bytes > 0


def test_a_spool_that_does_not_sync_is_caught(seed: int) -> None:
    """The judge is worth something: with ``synchronous=NORMAL`` for every step it finds promises broken."""
    outcome = cut_power(CONTROL_ROUNDS, seed, control=True)
    assert outcome.lossy_rounds == 1
    assert "became" in outcome.losses[0]
