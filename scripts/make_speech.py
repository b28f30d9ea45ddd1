"""Arranges a few clips of speech into recordings of given lengths and encodes them; run by scripts/make-speech.

Everything is seeded by the recording's number, and the stream's serial number and metadata are fixed, so that a
second run gives the same bytes.
"""

import json
import random
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

RATE_HZ = 16_000  # what the recorders record at
SAMPLE_BYTES = 2
LENGTHS_S = (4, 9, 15, 32, 65, 130, 250)  # a word in passing to a short meeting; in all about 1 MB
BITRATE_KBIT = 16  # speech at 16 kHz stays clear, and the longest recording stays small enough to commit
PAUSE_S = (0.25, 0.9)  # how long a speaker pauses between sentences


def read_clip(path: Path) -> bytes:
    """Return the samples of one clip."""
    with wave.open(str(path)) as clip:
        if (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) != (RATE_HZ, 1, SAMPLE_BYTES):
            sys.exit(f"{path} is not 16 kHz mono of 16 bits")
        samples: bytes = clip.readframes(clip.getnframes())
    return samples


def talk(clips: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield sentence and pause without end; each round says all clips in another order."""
    while True:
        for clip in chance.sample(clips, len(clips)):
            yield clip
            yield bytes(SAMPLE_BYTES * round(RATE_HZ * chance.uniform(*PAUSE_S)))


def arrange(clips: list[bytes], length_s: int, chance: random.Random) -> bytes:
    """Return exactly ``length_s`` of talk; like a button pressed in mid-sentence, the end may cut a word."""
    wanted = length_s * RATE_HZ * SAMPLE_BYTES
    samples = bytearray()
    for piece in talk(clips, chance):
        samples += piece
        if len(samples) >= wanted:
            return bytes(samples[:wanted])
    raise AssertionError  # talk() has no end


def encode(samples: bytes, target: Path, *, serial: int) -> None:
    """Encode with opusenc: 20 ms frames, and nothing in the metadata that differs from run to run."""
    raw_input = f"--raw --raw-rate {RATE_HZ} --raw-chan 1 --raw-bits {8 * SAMPLE_BYTES}"
    encoding = f"--speech --bitrate {BITRATE_KBIT} --framesize 20 --padding 0 --serial {serial}"
    subprocess.run(
        ["opusenc", "--quiet", *raw_input.split(), *encoding.split(), "-", str(target)], input=samples, check=True
    )


def main() -> None:
    """Encode one recording for each length, and write the index beside them."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    clips = [read_clip(path) for path in sorted(source.glob("*.wav"))]
    if not clips:
        sys.exit(f"no clips in {source}")
    index = []
    for number, length_s in enumerate(LENGTHS_S, start=1):
        name = f"speech-{length_s:03}s.opus"
        chance = random.Random(number)  # noqa: S311  the point is that it can be repeated
        encode(arrange(clips, length_s, chance), target / name, serial=number)
        index.append({"name": name, "duration_s": length_s})
        print(f"{name} {(target / name).stat().st_size}")
    (target / "speech.json").write_text(json.dumps(index, indent=2) + "\n")


main()
