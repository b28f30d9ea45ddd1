"""Draws a schedule from a seed: a world that is set up in some way, recordings in it, and troubles.

What is drawn how often is a matter of taste; that everything can be drawn, ``tests/custody/test_chaos.py`` checks.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any, Final

from bota_gateway.sim.cloud import ErrorVariant, Paging
from bota_gateway.sim.cloud.options import ApiProfile, IdempotencyMode
from bota_gateway.sim.options import Advertises, EmptyList, ListForm, ResultsOn, Sha
from support.chaos.at_cloud import Lent
from support.chaos.at_hub import HumanForgets, HumanWantsAgain, SpoolLost
from support.chaos.at_recorders import Away
from support.chaos.dice import Dice
from support.chaos.happening import Happening
from support.chaos.schedule import Schedule
from support.chaos.setup import CloudOption, Generation, Quirk, Recorded, Setting
from support.chaos.troubles import Troubles

STARTED_AT: Final = 1_780_000_000

ARRIVES_AFTER_S: Final = 140.0
"""Back in range after this long, a recorder counts as having arrived, and is visited at once."""

CROWD: Final = 8
"""Recordings on each recorder when there are many: more than a minute's allowance of calls is good for."""

CLOUD_OPTIONS: Final[dict[str, tuple[Any, ...]]] = {
    "error_variant": tuple(ErrorVariant),
    "validation_status": (422,),
    "unknown_fields": ("refuse",),
    "device_paging": (Paging.OFFSET, Paging.CURSOR),
    "recording_paging": (Paging.OFFSET, Paging.CURSOR),
    "requests_per_minute": (30,),
    "upload_urls_per_minute": (6,),
    "rate_window": ("sliding",),
    "rate_retry_after": (True,),
    "idempotency": tuple(IdempotencyMode),
    "url_life_s": (30, 120, 900),
    "upload_headers": (True, False),
    "sign_length": (True,),
    "verification_polls": (0, 3, 60),
    "repeat_of_d1": (400,),
    "processing_after_s": (5.0,),
    "completed_after_s": (20.0,),
}
"""Ways in which a cloud may be, that a gateway has to live with."""

SETTINGS: Final[dict[tuple[str, str], tuple[Any, ...]]] = {
    ("cloud", "share"): (0.2, 1.0),
    ("cloud", "parallel_uploads"): (1, 4),
    ("cloud", "look_before_create"): (False,),
    ("radio", "max_links"): (1,),
    ("recorders", "confirm"): ("never",),
    ("visits", "linger_s"): (0, 60),
    ("visits", "at_most_s"): (5, 60),
    ("wire", "result_characteristic"): ("recording_transfer",),
    ("wire", "result_sequence"): ("eof",),
    ("spool", "retention_hours"): (0, 0.5),
}

QUIRKS: Final[dict[str, tuple[Any, ...]]] = {
    "advertises": (Advertises.LEGACY, Advertises.NAME_ONLY),
    "att_mtu": (64, 185, 509),
    "serial_padding": (6,),
    "status_length": (14, 15, 16),
    "list_form": tuple(ListForm),
    "empty_list": tuple(EmptyList),
    "start_delay_s": (0.5, 3.0),
    "eof_sequence_zero": (True,),
    "sha": (Sha.NONE, Sha.SHORT, Sha.OTHER_RECORDING, Sha.LATE, Sha.BEFORE_EOF),
    "results_on": (ResultsOn.TRANSFER_CONTROL, ResultsOn.RECORDING_TRANSFER),
    "restart_after_nack": (True,),
    "deletion_delay_s": (1.0, 90.0, 1200.0),
    "advertise_again_after_s": (5.0, 60.0),
}
"""Ways in which a recorder's firmware may be, for good."""

SIZES: Final[dict[Callable[[Random], int], int]] = {
    lambda _rng: 0: 2,
    lambda rng: rng.randint(4, 20): 4,
    lambda rng: rng.randint(100, 3000): 40,
    lambda rng: rng.randint(3000, 20_000): 52,
    lambda rng: rng.randint(100_000, 200_000): 2,
}
"""Of recordings, in bytes: how often which."""


def draw(seed: int) -> Schedule:
    """The schedule of a seed; always the same."""
    dice = Dice(Random(f"schedule {seed}"))
    parts = (_cloud(dice), _settings(dice), _quirks(dice), _recordings(dice), Troubles(dice).draw(), _forgetting(dice))
    happenings = sorted((one for part in parts for one in part), key=lambda one: one.at)
    return Schedule(seed, dice.pace, dice.serials, tuple(_bearable(happenings)))


def _bearable(happenings: list[Happening]) -> list[Happening]:
    """Without what the gateway does not promise to bear together."""
    lost = [one for one in happenings if isinstance(one, SpoolLost)]
    if not lost:
        return happenings
    # Whose user's recordings one stands among that was lent, nobody knows once the spool is lost.
    left = [one for one in happenings if not isinstance(one, Lent)]
    if all(one.noise_at is not None for one in lost):
        return left
    # Who says that spools are never lost without a trace, and loses one, is not helped.
    return [one for one in left if not (isinstance(one, Setting) and one.key == "look_before_create")]


def _cloud(dice: Dice) -> Iterator[Happening]:
    if dice.profile is not ApiProfile.E:
        yield Generation(profile=dice.profile)
    for option, values in CLOUD_OPTIONS.items():
        if dice.sometimes(0.12):
            yield CloudOption(option=option, value=dice.rng.choice(values))


def _settings(dice: Dice) -> Iterator[Happening]:
    for (section, key), values in SETTINGS.items():
        if dice.sometimes(0.08):
            yield Setting(section=section, key=key, value=dice.rng.choice(values))
    if dice.sometimes(0.4):
        yield Setting(section="cloud", key="profile", value=dice.profile.value)
    if dice.sometimes(0.08):
        yield Setting(section="cloud", key="ambiguous_create", value="park", asks="upload_create_unknown")
    if dice.profile is not ApiProfile.D1 and dice.sometimes(0.08):
        yield Setting(section="cloud", key="send_device_id", value=False)
    if dice.profile is not ApiProfile.E and dice.sometimes(0.15):
        yield Setting(section="cloud", key="accept_unverified", value=False, asks="upload_not_proved", mended=True)


def _quirks(dice: Dice) -> Iterator[Happening]:
    for serial in dice.serials:
        for option, values in QUIRKS.items():
            if dice.sometimes(0.12):
                yield Quirk(serial=serial, option=option, value=dice.rng.choice(values))


def _forgetting(dice: Dice) -> Iterator[Happening]:
    """Drawn last, so that it changes nothing else of a schedule."""
    if not dice.sometimes(0.3):
        return
    for _ in range(dice.rng.randint(1, 3)):
        at = dice.when()
        yield HumanForgets(at=at, nth=dice.rng.randrange(8))
        if dice.sometimes(0.5):
            yield HumanWantsAgain(at=round(at + dice.long(), 1))


def _recordings(dice: Dice) -> Iterator[Happening]:
    rng = dice.rng
    made: list[Recorded] = []
    each = CROWD if dice.sometimes(0.03) else rng.choices((1, 2, 3), (5, 4, 1))[0]
    for number in range(1, each * len(dice.serials) + rng.randint(0, 3) + 1):
        one = _recording(dice, dice.serials[number % len(dice.serials)])
        if one.at > ARRIVES_AFTER_S and dice.sometimes(0.7):
            yield Away(at=one.at - ARRIVES_AFTER_S, lasts=ARRIVES_AFTER_S, serial=one.serial)
        again = [other for other in made if other.form == "ogg" and other.size]
        if again and dice.sometimes(0.1):
            one = _same_name(dice, one, rng.choice(again), number)
        made.append(one)
        yield one


def _recording(dice: Dice, serial: str) -> Recorded:
    rng = dice.rng
    form = rng.choices(("ogg", "at_rest", "p10", "v2", "rubbish"), (88, 5, 2, 2, 3))[0]
    size = rng.choices(list(SIZES), list(SIZES.values()))[0](rng)
    return Recorded(
        at=rng.choice(dice.busy),
        serial=serial,
        file_id=f"{rng.getrandbits(32):08x}",
        started_at=0 if dice.sometimes(0.1) else STARTED_AT + rng.randrange(10**6),
        size=max(20, size) if form == "rubbish" else size,
        duration_s=rng.randint(1, 5000),
        form=form,
    )


def _same_name(dice: Dice, one: Recorded, again: Recorded, number: int) -> Recorded:
    """File ids are random: one comes again, with another start or even with the same one, but another length."""
    return replace(
        one,
        at=max(one.at, again.at) + dice.when(),
        serial=again.serial,
        file_id=again.file_id,
        started_at=again.started_at if dice.sometimes(0.5) else one.started_at,
        size=again.size + 2048 * number,
        duration_s=again.duration_s + number,
        form="ogg",
    )
