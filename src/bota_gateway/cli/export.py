"""``bota-gateway export``: a capture as a file, also when the cloud or the key is gone.

Read from the spool's directory where no daemon runs, else from the daemon, piece by piece.
"""

import base64
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import click

from bota_gateway.cli import offers, options
from bota_gateway.errors import GatewayError, SpoolError
from bota_gateway.spool.offline import open_offline
from bota_gateway.status import client
from bota_gateway.status.naming import named
from bota_gateway.status.words import size
from bota_gateway.upload.content import SNIFF_BYTES, content_type_of

ENDINGS: Final = {
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/webm": ".webm",
    "audio/mpeg": ".mp3",
}
UNKNOWN_ENDING: Final = ".bin"
NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links answer; USB sticks mostly have such a one."""
ASK_THE_DAEMON: Final = frozenset({"spool_locked", "spool_unreadable"})
"""Why a directory can't be read here, while a daemon may well answer."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What is exported."""

    serial: str
    file_id: str
    started_at: int
    size_bytes: int
    sha256: str
    profile: str | None
    pieces: Iterator[bytes]

    @property
    def name(self) -> str:
        """Of its file, without an ending."""
        start = datetime.fromtimestamp(self.started_at, UTC).strftime("%Y%m%dT%H%M%SZ")
        parts = (self.serial[:64], self.file_id, start if self.started_at else "undated")
        return re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(parts))


@click.command(short_help="Save a recording from the spool as a file.")
@options.config_file
@options.socket
@options.as_json
@click.option(
    "--directory",
    type=options.A_PATH,
    help="The spool's directory, for example of one that was set aside; from the configuration.",
)
@click.option(
    "--to",
    "target",
    type=options.A_PATH,
    help="File to write, or directory to write it into; here if none.",
)
@click.option("--damaged", is_flag=True, help="Save what is left of it, even if that is not what was captured.")
@click.argument("recording", shell_complete=offers.file_ids)
def export(
    config_path: Path | None,
    socket_path: Path | None,
    as_json: bool,
    directory: Path | None,
    target: Path | None,
    damaged: bool,
    recording: str,
) -> None:
    """Save a captured recording as a file that players open, whether or not the cloud has it.

    RECORDING is its file id or the first digits of it, or SERIAL/FILE_ID where two recorders use the same. Its bytes
    are compared with the digest it was captured with; no file is ever overwritten.

    \b
    Exit codes: 0 saved, 1 not saved, 3 the spool can't be used or does not have it.
    """
    with _source(config_path, socket_path, directory, recording, damaged=damaged) as capture:
        saved = _save(capture, target, damaged=damaged)
    if as_json:
        options.print_json(saved)
        return
    click.echo(f"{saved['file']}  {size(saved['size_bytes'])}  sha256 {saved['sha256']}")
    if not saved["whole"]:
        click.echo("It is damaged: these are not the bytes that were captured.")
    if capture.profile == "p10":
        click.echo("It is encrypted end to end: only Bota's cloud can make it play.")
    elif saved["content_type"] is None:
        click.echo("Its first bytes are of no kind of audio that this program knows.")


# -- where the bytes come from -----------------------------------------------------------------------------------------


@contextmanager
def _source(
    config_path: Path | None, socket_path: Path | None, directory: Path | None, name: str, *, damaged: bool
) -> Iterator[Capture]:
    if directory is not None:
        with _from_directory(directory, name, damaged=damaged) as capture:
            yield capture
        return
    if socket_path is None:
        settings = options.settings(config_path)
        socket_path = settings.status.socket
        try:
            with _from_directory(settings.spool.directory, name, damaged=damaged) as capture:
                yield capture
                return
        except SpoolError as refused:
            if refused.error_code not in ASK_THE_DAEMON:
                raise
    yield _from_daemon(socket_path, name)


@contextmanager
def _from_directory(directory: Path, name: str, *, damaged: bool) -> Iterator[Capture]:
    with open_offline(directory) as spool:
        row = named(spool.recordings(), name)
        pieces = spool.audio(row, forgiving=damaged)
        yield Capture(
            row.key.serial,
            row.key.file_id,
            row.key.started_at,
            row.size_bytes or 0,
            str(row.sha256),
            row.profile,
            pieces,
        )


def _from_daemon(socket: Path, name: str) -> Capture:
    first = client.ask(socket, "audio", recording=name, piece=0)
    one: dict[str, Any] = first["recording"]
    key = f"{one['serial']}/{one['file_id']}/{one['started_at']}"

    def pieces() -> Iterator[bytes]:
        answer = first
        number = 0
        while data := base64.b64decode(answer["data"]):
            yield data
            number += 1
            answer = client.ask(socket, "audio", recording=key, piece=number)

    return Capture(
        one["serial"], one["file_id"], one["started_at"], one["size_bytes"], one["sha256"], one["profile"], pieces()
    )


# -- where they go -----------------------------------------------------------------------------------------------------


def _save(capture: Capture, target: Path | None, *, damaged: bool) -> dict[str, Any]:
    pieces = iter(capture.pieces)
    first = next(pieces, b"")
    content_type = content_type_of(first[:SNIFF_BYTES])
    target = _target(capture, target, ENDINGS.get(content_type or "", UNKNOWN_ENDING))
    if os.path.lexists(target):
        raise _exists(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            length, digest = _write(file, first, pieces, forgiving=damaged)
        whole = length == capture.size_bytes and digest == capture.sha256
        if not whole and not damaged:
            raise SpoolError(
                f"{capture.size_bytes} bytes with SHA-256 {capture.sha256} were captured; "
                f"{length} with {digest} are here.",
                code="spool_audio_differs",
                remedy="Check the disk. With --damaged what is left is saved all the same.",
            )
        _place(part, target)
    except OSError as error:
        raise GatewayError(
            f"{target} can't be written: {error.strerror or error}.",
            code="export_failed",
            remedy="Name another place with --to.",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return {
        "file": str(target),
        "serial": capture.serial,
        "file_id": capture.file_id,
        "size_bytes": length,
        "sha256": digest,
        "content_type": content_type,
        "whole": whole,
    }


def _target(capture: Capture, target: Path | None, ending: str) -> Path:
    if target is None or target.is_dir():
        return (target or Path()) / (capture.name + ending)
    return target


def _write(file: IO[bytes], first: bytes, pieces: Iterator[bytes], *, forgiving: bool) -> tuple[int, str]:
    """Write all pieces, on the disk when this returns; give back their length and digest."""
    digest = hashlib.sha256()
    length = 0
    piece = first
    while piece:
        file.write(piece)
        digest.update(piece)
        length += len(piece)
        try:
            piece = next(pieces, b"")
        except SpoolError:
            if not forgiving:
                raise
            break
    file.flush()
    os.fsync(file.fileno())
    return length, digest.hexdigest()


def _place(part: Path, target: Path) -> None:
    """Give the finished file its name, unless another has it by now."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(target):
            raise _exists(target) from None
        part.rename(target)
    with suppress(OSError):  # not every file system can sync a directory; the file itself is on the disk
        handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exists(target: Path) -> GatewayError:
    return GatewayError(
        f"{target} exists already; nothing was written.",
        code="export_exists",
        remedy="Name another file with --to.",
    )
