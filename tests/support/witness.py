"""Watches a simulated world: what recorders are told, what is logged, which secrets were handed out."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import structlog
from bumble import att

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Command, Opcode, decode_command
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.sim.cloud import EmulatedCloud
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from support.evidence import Held, Told, Word
from support.gathering import held_by, is_in, on_disk

IS_DEAD: ContextVar[Callable[[], bool]] = ContextVar("is_dead", default=lambda: False)
"""Whether the life in which something happens has ended: what its remains log is no news."""


class Witness:
    """Notes what the judge wants to know.

    Args:
        cloud: The emulated one.
        now: The wall clock.
        spool: Gives the directory of the spool in use at this moment.
    """

    def __init__(self, cloud: EmulatedCloud, now: Callable[[], float], spool: Callable[[], Path]) -> None:
        self._cloud = cloud
        self._now = now
        self._spool = spool
        self.made: list[Held] = []
        self.taken: set[Held] = set()
        self.forgotten: set[Held] = set()
        self.ever_forgotten: set[Held] = set()
        self.told: list[Told] = []
        self.events: list[Mapping[str, object]] = []
        self.log: list[str] = []
        self.secrets: dict[str, str] = {}
        """Each secret, and what it is."""
        spy_on_secrets(cloud, self.secrets.__setitem__)

    # -- recordings ----------------------------------------------------------------------------------------------------

    def note_made(self, serial: str, *recordings: StoredRecording) -> None:
        """Recordings come to be on a recorder; they are whoever's wears it now."""
        device = self._cloud.devices.find(serial)
        self.made += [held_by(serial, one, device.end_user_id if device else None) for one in recordings]

    def held(self, serial: str, stored: StoredRecording) -> Held:
        """A recording as it was noted when it came to be."""
        plain = held_by(serial, stored)
        return next(
            one for one in self.made if (one.serial, one.file_id, one.sha256) == (serial, plain.file_id, plain.sha256)
        )

    # -- words to recorders --------------------------------------------------------------------------------------------

    def heard(self, recorder: SimRecorder, request: att.ATT_Write_Request) -> None:
        """A write reaches a recorder: if it is a word about a recording, note what is true at this moment."""
        if (about := word_about(recorder, request)) is not None:
            word, file_id, stored = about
            self.told.append(
                Told(
                    order=len(self.told),
                    at=self._now(),
                    word=word,
                    serial=recorder.serial,
                    file_id=file_id,
                    held=self.held(recorder.serial, stored) if stored else None,
                    on_disk=on_disk(self._spool(), recorder.serial, file_id),
                    in_cloud=stored is not None and is_in(self._cloud, stored),
                )
            )

    # -- logs ----------------------------------------------------------------------------------------------------------

    def _note_event(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """The last processor of structlog: keeps every event, unredacted, and shows it to nobody."""
        noted = dict(event)
        error = noted.get("exc_info")
        if isinstance(error, BaseException):
            noted["exc_info"] = "".join(traceback.format_exception(error))
        elif error:
            noted["exc_info"] = traceback.format_exc()
        self.log.append(json.dumps(noted, default=str))
        if not IS_DEAD.get()():
            self.events.append(noted)
        raise structlog.DropEvent

    @contextmanager
    def logging(self) -> Iterator[None]:
        """All log events come here while the block runs, those of libraries too."""
        before = structlog.get_config()
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, self._note_event],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            cache_logger_on_first_use=False,
        )
        libraries = _Into(self.log)
        logging.getLogger().addHandler(libraries)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(libraries)
            structlog.configure(**before)


def spy_on_secrets(cloud: EmulatedCloud, keep: Callable[[str, str], object]) -> None:
    """Tell of every credential that the cloud hands out: what it is like, and what it is."""
    keep(cloud.api_key, "the API key")
    issue, make = cloud.urls.issue, cloud.world.ids.make

    def issued(*args: Any, **options: Any) -> str:
        url = issue(*args, **options)
        keep(httpx.URL(url).params["X-Amz-Signature"], "the signature of an upload URL")
        return url

    def made(prefix: str, *args: Any) -> str:
        value = make(prefix, *args)
        if prefix == "up":
            keep(value, "an upload token")
        return value

    # Spies on these instances alone: the emulator has no other way to tell.
    cloud.urls.issue = issued  # type: ignore[method-assign]  # see above
    cloud.world.ids.make = made  # type: ignore[method-assign, assignment]  # see above


def word_about(
    recorder: SimRecorder, request: att.ATT_Write_Request
) -> tuple[Word, str, StoredRecording | None] | None:
    """The word about a recording that a write is, its file id, and what the recorder has under it."""
    firmware = recorder.firmware
    words = {firmware.handles[uuids.TRANSFER_CONTROL], firmware.handles[uuids.RECORDING_TRANSFER]}
    if request.attribute_handle not in words:
        return None
    try:
        command = decode_command(request.attribute_value)
    except DecodeError:
        return None
    return _about(recorder, command)


def _about(recorder: SimRecorder, command: Command) -> tuple[Word, str, StoredRecording | None] | None:
    firmware = recorder.firmware
    match command.opcode:
        case Opcode.START | Opcode.CONFIRM if command.recording_id:
            file_id = command.recording_id[:4].hex()
            word = Word.START if command.opcode is Opcode.START else Word.CONFIRM
            return word, file_id, firmware.recordings.get(file_id)
        case Opcode.ACK if firmware.transfer is not None:
            stored = firmware.transfer.recording
            return Word.ACK, stored.file_id, stored
        case _:
            return None


class _Into(logging.Handler):
    """Keeps what libraries log."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
