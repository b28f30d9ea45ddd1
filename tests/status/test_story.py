import asyncio
import io
from collections.abc import Iterator

import pytest
import structlog

from bota_gateway.config import LogSettings
from bota_gateway.status import logs
from bota_gateway.status.story import KEPT, Story, Wanted
from support.commands import logging_kept

KEY = "sk_live_51Habcdefghijk"


@pytest.fixture
def story() -> Iterator[Story]:
    """What is logged while the test runs."""
    told = Story(lambda: 1_790_000_000.0)
    with logging_kept():
        logs.configure(LogSettings(level="debug"), io.StringIO(), told)
        yield told


def test_a_happening_is_told_in_words(story: Story) -> None:
    """The sentence of the catalogue with its numbers, and whom it is about, for views that have no log at hand."""
    structlog.get_logger().info("audio_forgotten", recorder="A1", recording="0a0b0c0d", recordings=3)
    (one,) = story.since(0)
    assert (one.number, one.at, one.level) == (1, 1_790_000_000.0, "info")
    assert one.says == "3 recordings: audio deleted here after the retention"
    assert (one.recorder, one.recording, one.fields) == ("A1", "0a0b0c0d", {"recordings": 3})


def test_no_secret_gets_into_the_story(story: Story) -> None:
    """It stands behind the redaction, so whatever shows it needs none of its own."""
    structlog.get_logger().warning("made_up_event", reason=f"key {KEY} refused")
    assert KEY not in repr(story.since(0))


def test_control_characters_are_made_visible(story: Story) -> None:
    """What came over the air must not move a technician's cursor."""
    structlog.get_logger().warning("library_warning", library="bleak", said="\x1b[2Jgone")
    assert "\x1b" not in story.since(0)[0].says


def test_the_story_is_bounded(story: Story) -> None:
    """A gateway that runs for years remembers the last thousand happenings."""
    for _ in range(KEPT + 5):
        structlog.get_logger().debug("made_up_event")
    assert [one.number for one in story.since(0)] == list(range(6, KEPT + 6))


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(), [1, 2, 3]),
        (Wanted(level="warning"), [2]),
        (Wanted(recorder="A1"), [1, 2]),
        (Wanted(recording="0a"), [2]),
        (Wanted(recorder="A1", level="error"), []),
    ],
)
def test_only_what_is_wanted_is_told(story: Story, wanted: Wanted, numbers: list[int]) -> None:
    """By level, recorder and the first digits of a recording."""
    log = structlog.get_logger()
    log.info("made_up_event", recorder="A1")
    log.warning("made_up_event", recorder="A1", recording="0a0b0c0d")
    log.info("made_up_event", recorder="B2", recording="ffffffff")
    assert [one.number for one in story.last(10, wanted)] == numbers
    assert [one.number for one in story.last(1, wanted)] == numbers[-1:]
    assert story.last(0, wanted) == []


async def test_a_follower_gets_what_was_and_then_what_happens(story: Story) -> None:
    """Nothing between the two is lost, nothing told twice."""
    log = structlog.get_logger()
    for number in range(3):
        log.info("made_up_event", number=number)
    followed = story.follow(2, Wanted())
    first = [(await anext(followed))["fields"]["number"] for _ in range(2)]
    log.info("made_up_event", number=3)
    coming = asyncio.ensure_future(anext(followed))
    assert (await coming)["fields"]["number"] == 3
    coming = asyncio.ensure_future(anext(followed))
    await asyncio.sleep(0)
    log.info("made_up_event", number=4)
    assert (first, (await coming)["fields"]["number"]) == ([1, 2], 4)
    await followed.aclose()  # type: ignore[attr-defined] # an async generator, told as the iterator it is used as
