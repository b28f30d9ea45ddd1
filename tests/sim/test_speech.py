import hashlib
import itertools
import struct

import pytest

from bota_gateway.sim.speech import long_recording, speeches
from bota_gateway.sim.speech.ogg import checksum

_END_OF_STREAM = 0x04


def pages(data: bytes) -> list[bytes]:
    """Cut an Ogg file into pages, the way a player does."""
    found = []
    at = 0
    while at < len(data):
        assert data[at : at + 4] == b"OggS"
        segments = data[at + 27 : at + 27 + data[at + 26]]
        end = at + 27 + len(segments) + sum(segments)
        found.append(data[at:end])
        at = end
    assert at == len(data)
    return found


def assert_sound(file: list[bytes]) -> None:
    """One stream, gapless, each page with the right checksum, the last one marked as the end."""
    for number, page in enumerate(file):
        flags, _, _, sequence, claimed = struct.unpack_from("<BqIII", page, 5)
        assert sequence == number
        assert checksum(page[:22] + bytes(4) + page[26:]) == claimed
        assert bool(flags & _END_OF_STREAM) == (number == len(file) - 1)
    assert len({page[14:18] for page in file}) == 1


def test_the_seven_recordings_are_sound_ogg_opus() -> None:
    """The encoder's own checksums hold by our sum, so the files are whole and the sum is Ogg's."""
    assert len(speeches()) == 7
    for speech in speeches():
        file = pages(speech.read())
        assert file[0][28:36] == b"OpusHead"
        assert_sound(file)


def test_each_recording_plays_as_long_as_the_index_says() -> None:
    """The last granule position, less the pre-skip, is the duration at 48 kHz."""
    for speech in speeches():
        file = pages(speech.read())
        (pre_skip,) = struct.unpack_from("<H", file[0], 28 + 10)
        (granule,) = struct.unpack_from("<q", file[-1], 6)
        assert granule - pre_skip == speech.duration_s * 48_000


def test_the_recordings_stay_small_enough_to_commit() -> None:
    """About one megabyte in all."""
    assert sum(len(speech.read()) for speech in speeches()) < 1_100_000


@pytest.mark.parametrize("size", [1_200_000, 5 << 20])
def test_a_long_recording_is_one_sound_stream_of_the_size_asked_for(size: int) -> None:
    """Repeating pages leaves no seam: sequence, time and checksums run on, and at most a page is added."""
    data, duration_s = long_recording(size)
    file = pages(data)
    assert_sound(file)
    assert size <= len(data) < size + len(max(file, key=len))
    granules = [struct.unpack_from("<q", page, 6)[0] for page in file[2:]]
    assert all(0 < later - earlier <= 48_000 for earlier, later in itertools.pairwise(granules))
    assert duration_s == round(granules[-1] / 48_000)


def test_a_long_recording_is_the_same_each_time() -> None:
    """A test or demo that names its digest can rely on it."""
    first, second = (hashlib.sha256(long_recording(600_000)[0]).hexdigest() for _ in range(2))
    assert first == second
