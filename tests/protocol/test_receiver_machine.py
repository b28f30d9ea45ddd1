"""The receiver against an oracle that reads the whole story at leisure, over links that do everything wrong."""

import zlib
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bota_gateway.protocol.receiver import BatchReceiver, Complete, Failed
from support.transfers import data_packets, digest, eof, receiver

HALF: Final = 0x8000


class LinkThatMisbehaves(RuleBasedStateMachine):
    """Sends one recording, with loss, repetition, reordering and corruption as hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.audio = b""
        self.to_send: list[bytes] = []
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self.stored = bytearray()
        self.receiver: BatchReceiver = receiver()
        self.now = 0.0

    @initialize(audio=st.binary(max_size=60), size=st.integers(1, 9), with_digest=st.booleans())
    def begin(self, audio: bytes, size: int, with_digest: bool) -> None:
        """A recording is cut into packets."""
        self.audio = audio
        self.to_send = [*data_packets(audio, size), eof(audio), *([digest(audio)] if with_digest else [])]

    def deliver(self, *notifications: bytes) -> None:
        """They arrive, and what is to be stored is stored."""
        self.now += 0.01
        if self.receiver.outcome is None:
            self.heard += notifications
        self.receiver.receive(notifications, self.now)
        self.stored += self.receiver.take_audio()

    @precondition(lambda self: self.to_send)
    @rule(count=st.integers(1, 8))
    def send(self, count: int) -> None:
        """Some packets arrive as they were sent, in one batch."""
        batch, self.to_send = self.to_send[:count], self.to_send[count:]
        self.sent += batch
        self.deliver(*batch)

    @precondition(lambda self: self.to_send)
    @rule()
    def lose(self) -> None:
        """One packet never arrives."""
        self.sent.append(self.to_send.pop(0))

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(0, 1000))
    def repeat(self, choice: int) -> None:
        """A packet sent before, lost or not, arrives now."""
        self.deliver(self.sent[choice % len(self.sent)])

    @precondition(lambda self: len(self.to_send) > 1)
    @rule()
    def swap(self) -> None:
        """Two packets change places."""
        self.to_send[:2] = self.to_send[1::-1]

    @precondition(lambda self: self.to_send and self.to_send[0])
    @rule(place=st.integers(0, 1000), bit=st.integers(0, 7))
    def corrupt(self, place: int, bit: int) -> None:
        """A bit of the next packet flips."""
        damaged = bytearray(self.to_send[0])
        damaged[place % len(damaged)] ^= 1 << bit
        self.to_send[0] = bytes(damaged)

    @precondition(lambda self: self.to_send)
    @rule(keep=st.integers(0, 10))
    def truncate(self, keep: int) -> None:
        """The next packet loses its tail."""
        self.to_send[0] = self.to_send[0][:keep]

    @rule()
    def wait(self) -> None:
        """Nothing comes until the receiver wants to be asked."""
        if self.receiver.outcome is None:
            self.now = self.receiver.deadline
            self.receiver.tick(self.now)
            assert self.receiver.outcome is not None, "a passed deadline decides"

    @invariant()
    def never_other_bytes(self) -> None:
        """Complete means: exactly the bytes that were sent, but for a collision of the checksum itself."""
        if isinstance(self.receiver.outcome, Complete):
            outcome = self.receiver.outcome
            assert outcome.length == len(self.stored)
            assert outcome.crc32 == zlib.crc32(self.stored)
            assert self.stored == self.audio or zlib.crc32(self.stored) == zlib.crc32(self.audio)

    @invariant()
    def as_the_oracle_says(self) -> None:
        """While it is open, and when a gap ends it, the receiver stands where plain reasoning puts it."""
        outcome = self.receiver.outcome
        if outcome is None:
            audio, gap = expectation(self.heard)
            assert not gap
            assert self.stored == audio
        elif isinstance(outcome, Failed) and outcome.code == "transfer_gap":
            assert expectation(self.heard)[1]


def expectation(heard: list[bytes]) -> tuple[bytes, bool]:
    """The audio of DATA packets in order, and whether one is missing."""
    audio, expected = b"", 0
    for packet in heard:
        if len(packet) >= 3 and packet[0] == 1:
            seq = int.from_bytes(packet[1:3], "little")
            behind = (expected - seq) % 65_536
            if behind == 0:
                audio, expected = audio + packet[5:], expected + 1
            elif expected == 0 or behind > HALF:
                return audio, True
    return audio, False


LinkThatMisbehaves.TestCase.settings = settings(max_examples=300, stateful_step_count=30)
TestLinkThatMisbehaves = LinkThatMisbehaves.TestCase
