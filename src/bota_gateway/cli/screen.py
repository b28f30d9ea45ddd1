"""The whole terminal for a live view: keys, resizes and signals, and the terminal as it was when it ends."""

import contextlib
import errno
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TypeVar

from rich.console import Console, ConsoleDimensions, Group
from rich.control import Control
from rich.screen import Screen as Filled
from rich.text import Text

T = TypeVar("T")

_NEWS = 0
"""Says through the pipe of signals, where 0 is no signal, that there is something new to show."""
_ENDS = (signal.SIGTERM, signal.SIGHUP)
_MINDED = (*_ENDS, signal.SIGINT, signal.SIGTSTP, signal.SIGWINCH)
_LEAVE_KEYS = b"qQ\x03"


class Screen:
    """Takes the terminal for `run`, in the main thread, and gives it back whatever ends it but SIGKILL."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pipe, self._signal_to = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(self._signal_to, False)

    def close(self) -> None:
        """Let go of the pipe; once `run` is over."""
        os.close(self._pipe)
        os.close(self._signal_to)

    def run(self, look: Callable[[], T], show: Callable[[T | None], Sequence[Text]], every_s: float) -> None:
        """Show what ``look`` finds until a person leaves.

        Args:
            look: Asked again and again in a thread of its own, so that keys count while it waits.
            show: Makes lines for the terminal of what was found last, None at first.
            every_s: How long to rest after each look.

        Raises:
            SystemExit: after SIGTERM or SIGHUP, with 128 and its number.
        """
        found: list[T | None] = [None]
        failed: list[Exception] = []
        over = threading.Event()

        def look_on() -> None:
            while not over.is_set() and not failed:
                try:
                    found[0] = look()
                except Exception as failure:  # noqa: BLE001 - raised again where it is seen
                    failed.append(failure)
                with contextlib.suppress(OSError):  # nobody is there any more, or the pipe is full of news
                    os.write(self._signal_to, bytes([_NEWS]))
                over.wait(every_s)

        def lines() -> Sequence[Text]:
            if failed:
                raise failed[0]
            return show(found[0])

        looking = threading.Thread(target=look_on, daemon=True)
        with self._minding_signals():
            looking.start()
            try:
                while self._shown(lines):
                    os.kill(os.getpid(), signal.SIGSTOP)  # until the shell's fg
            finally:
                over.set()

    @contextlib.contextmanager
    def _minding_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, _noted) for number in _MINDED}
        wakeup = signal.set_wakeup_fd(self._signal_to, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _shown(self, lines: Callable[[], Sequence[Text]]) -> bool:
        """Show on the terminal until somebody leaves (False), or wants to suspend (True)."""
        with _keys_at_once() as keys, contextlib.ExitStack() as taken:
            taken.callback(self._take, taken=False)
            self._take(taken=True)
            while True:
                try:
                    # Rich believes COLUMNS and LINES, which a shell may have exported before a resize.
                    self._console.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
                    filled = Filled(Group(*lines()))
                    with self._console:  # both in one write
                        self._console.control(Control.home())
                        self._console.print(filled, end="")
                    told, typed = self._heard(keys)
                except OSError:  # the terminal is gone; the signal that says so is under way
                    raise SystemExit(128 + signal.SIGHUP) from None
                for number in _ENDS:
                    if number in told:
                        raise SystemExit(128 + number)
                if signal.SIGINT in told or set(typed) & set(_LEAVE_KEYS):
                    return False
                if signal.SIGTSTP in told:
                    return True

    def _heard(self, keys: list[int]) -> tuple[bytes, bytes]:
        """The next signals or news, and the next keys.

        Raises:
            OSError: the terminal is gone.
        """
        ready, _, _ = select.select([self._pipe, *keys], [], [])
        told = os.read(self._pipe, 1024) if self._pipe in ready else b""
        typed = b""
        for key in keys:
            if key in ready and not (typed := os.read(key, 1024)):
                raise OSError(errno.EIO, "the terminal is gone")
        return told, typed

    def _take(self, *, taken: bool) -> None:
        """Take the terminal's other screen, or give back the one that was there."""
        with contextlib.suppress(OSError):  # the terminal is gone
            self._console.set_alt_screen(taken)
            self._console.show_cursor(not taken)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Signals are read from the pipe, where they meet the keys."""


@contextlib.contextmanager
def _keys_at_once() -> Iterator[list[int]]:
    """The terminal to read keys from, each as it is typed and not shown; none where input is no terminal."""
    if not sys.stdin.isatty():
        yield []
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        yield [file]
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(file, termios.TCSADRAIN, before)
