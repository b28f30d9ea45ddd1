"""Configuration: one TOML file, every key also as ``BOTA_GATEWAY_SECTION__KEY``.

Where the vendor's documents or implementations disagree, the choice is a setting here, with its reason.
``config.example.toml`` and ``docs/settings.md`` are generated from these fields.
"""

import ipaddress
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "BOTA_GATEWAY_"

Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]


class Section(BaseModel):
    """A section of the file: closed, so that a misspelt key is an error and not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Profile(StrEnum):
    """Which generation of the Bota API's contract is spoken (docs/cloud-api.md, "Profiles")."""

    AUTO = "auto"
    D1 = "d1"
    D2 = "d2"
    E = "e"


class CloudSettings(Section):
    """The Bota API and S3."""

    api_base: str = Field("https://api.bota.dev/v1", description="Base of the API; HTTPS, or HTTP on loopback only.")
    api_key: SecretStr | None = Field(
        None,
        description=(
            "The project's secret or restricted key. Better: the systemd credential bota-api-key, or the environment "
            "variable BOTA_GATEWAY_CLOUD__API_KEY. In a file only if that file is not readable by others."
        ),
    )
    api_key_file: Path | None = Field(
        None, description="A file that holds only the key; refused when others may read it."
    )
    s3_hosts: tuple[str, ...] = Field(
        ("*.amazonaws.com",), description="Hosts (or host:port) that uploads may go to; a leading *. is a wildcard."
    )
    profile: Profile = Field(
        Profile.AUTO,
        description=(
            "Contract generation. auto starts with e, the newest one seen live, and remembers an older one when the "
            "API's answers show it."
        ),
    )
    requests_per_minute: int = Field(
        100, ge=1, description="The project's limit for all calls; published figures differ, this is the strictest."
    )
    upload_urls_per_minute: int = Field(30, ge=1, description="The project's limit for upload URLs.")
    share: float = Field(
        0.8, gt=0, le=1, description="This hub's part of the project's limits: 0.8 divided by the number of hubs."
    )
    parallel_uploads: int = Field(2, ge=1, le=10, description="Uploads at once; ten is the published ceiling.")
    content_type: Literal["auto", "audio/wav", "audio/mpeg", "audio/mp4", "audio/webm", "audio/ogg", "audio/flac"] = (
        Field(
            "auto",
            description="auto recognises the file by its first bytes; every contract generation accepts these six.",
        )
    )
    send_device_id: bool = Field(
        True, description="Name the device when creating a recording; the vendor's own sample leaves it out."
    )
    accept_unverified: bool = Field(
        True,
        description=(
            "With d1 and d2 the API never proves a digest. true: status 'uploaded' counts as stored, and is marked "
            "unverified. false: the recorder keeps its copy."
        ),
    )
    look_before_create: bool = Field(
        True,
        description=(
            "Look for a capture in the cloud before creating it: another hub may have met the recorder, or this hub's "
            "spool been lost. Costs one call per visit of a recorder; false where neither can happen."
        ),
    )
    ambiguous_create: Literal["reconcile", "park"] = Field(
        "reconcile",
        description="After a lost answer to 'create': look for the recording, then try again; or leave it to a human.",
    )

    @field_validator("api_base")
    @classmethod
    def _api_base_is_safe(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            raise ValueError("must start with https:// (http:// is allowed on loopback only)")
        if not url.hostname or url.username or url.password or url.query or url.fragment:
            raise ValueError("must be a plain URL: no user, query or fragment")
        if not url.path.endswith("/v1"):
            raise ValueError("must end in /v1")
        return value


class SpoolSettings(Section):
    """Where captures wait for the cloud."""

    directory: Path = Field(Path("/var/lib/bota-gateway"), description="Directory of the spool.")
    max_bytes: int = Field(8 << 30, ge=16 << 20, description="Quota of the spool's file; pulling stops when reached.")
    min_free_bytes: int = Field(512 << 20, ge=0, description="Free space left on the disk; pulling stops below it.")
    retention_hours: float = Field(
        72,
        ge=0,
        description=(
            "How long audio stays here after its deletion on the recorder was seen, or after the cloud had it while "
            "that is not seen; less when room is needed and the cloud has proved it."
        ),
    )


class NotifyMode(StrEnum):
    """How notifications reach the gateway on BlueZ (docs/design-notes.md, "Notification mode")."""

    AUTO = "auto"
    SIGNAL = "signal"
    DESCRIPTOR = "descriptor"


class RadioSettings(Section):
    """Bluetooth adapters and links."""

    adapters: tuple[str, ...] = Field(
        (),
        description=(
            "Adapter addresses or hciN; empty means all that BlueZ has. bumble:TRANSPORT is one without BlueZ, "
            "such as the one that 'bota-gateway sim recorder' offers."
        ),
    )
    max_links: int = Field(3, ge=1, le=10, description="Links at once per adapter; small controllers hold few.")
    notify: NotifyMode = Field(
        NotifyMode.AUTO,
        description="signal = D-Bus signals; descriptor = a socket each, which crashed bluetoothd 5.66; auto = signal.",
    )
    power_cycle: bool = Field(
        True,
        description=(
            "Whether an adapter that has gone deaf may be switched off and on when restarting its scanner did not "
            "help. Never done while a link is up on it; false where other programs of this hub need the adapter all "
            "the time."
        ),
    )


Serial = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
"""Serials are ASCII letters and digits (docs/protocol.md, "Identity")."""
DeviceId = Annotated[str, Field(pattern=r"^dev_[A-Za-z0-9]{1,64}$")]


class RecorderSettings(Section):
    """Which recorders are served and how."""

    allow: tuple[Serial, ...] = Field((), description="Serials to serve; empty means every recorder of the project.")
    deny: tuple[Serial, ...] = Field((), description="Serials to leave alone, whatever else says.")
    map: dict[Serial, DeviceId] = Field(
        default_factory=dict, description="serial = device id (dev_...): spares walking the project's device list."
    )
    confirm: Literal["after_stored", "never"] = Field(
        "after_stored", description="When a recorder may delete: after the cloud has the recording, or never."
    )
    time_zone_minutes: int = Field(
        0,
        ge=-840,
        le=840,
        description="Minutes east of UTC written with the time; what firmware does with it is unknown.",
    )
    low_battery_percent: int = Field(
        15, ge=0, le=100, description="Below this and not charging, a recorder is spared until it charges."
    )


class VisitSettings(Section):
    """When recorders are visited. A held recorder is invisible to its owner's phone, so visits are short."""

    interval_s: Seconds = Field(300, description="Time between visits of a recorder in range.")
    shortest_s: Seconds = Field(60, description="The interval shrinks to this while the recorder is recording.")
    longest_s: Seconds = Field(1800, description="The interval stretches to this while the recorder has nothing.")
    at_most_s: Seconds = Field(
        900,
        description=(
            "No transfer is begun later than this into a visit, and one slower than audio is recorded (4 kB/s) is "
            "given up after as long; each further try of it gets twice the time, so that it arrives in the end."
        ),
    )
    linger_s: Annotated[float, Field(ge=0, le=60)] = Field(
        6, description="How long a link waits for an upload that is about to finish, to confirm in the same visit."
    )
    stranger_recheck_s: Seconds = Field(
        86_400, description="A stranger is visited again after this; the cloud is asked every 5 min for an hour after."
    )


class WireSettings(Section):
    """Choices where the vendor's own implementations disagree, and limits on what a recorder may do."""

    result_characteristic: Literal["transfer_control", "recording_transfer"] = Field(
        "transfer_control",
        description="Where ACK, NACK and ABORT go: the first is the written protocol, the second the newer SDK's way.",
    )
    result_sequence: Literal["zero", "eof"] = Field(
        "zero",
        description="Sequence field of ACK and NACK: 0 as written down, or the end packet's as the newer SDK does.",
    )
    list_quiet_s: Seconds = Field(0.7, description="A list without count is complete after this silence.")
    list_total_s: Seconds = Field(5, description="A list is over after this, whatever comes.")
    first_packet_s: Seconds = Field(5, description="Time for the first packet: the recorder reads an SD card.")
    packet_gap_s: Seconds = Field(4, description="Silence that ends a transfer.")
    sha_grace_s: Seconds = Field(0.2, description="Wait for the recorder's SHA-256 after the end packet.")
    digest: Literal["strict", "record"] = Field(
        "strict",
        description=(
            "strict: a recorder's SHA-256 that differs from ours fails the transfer, except for recordings encrypted "
            "at rest, where it is unknown what is hashed. record: only write both down."
        ),
    )
    max_recording_bytes: int = Field(
        256 << 20, ge=1 << 20, description="A transfer longer than this is a fault: four times what the list can state."
    )
    slowest_bytes_per_s: int = Field(
        500, ge=1, description="A transfer slower than this over its whole length is given up and tried later."
    )


class StatusSettings(Section):
    """What the daemon tells on this hub."""

    socket: Path = Field(Path("/run/bota-gateway/status.sock"), description="Socket the command line asks.")
    token_file: Path | None = Field(
        None,
        description="A file with the token that the status page asks for, 16 characters or more; no file, no token.",
    )
    listen: str = Field(
        "",
        description=(
            "address:port of the status page, of health and of metrics, such as 127.0.0.1:8470; empty = off. Another "
            "address than loopback needs a token_file."
        ),
    )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of ``listen``; only while it is not empty."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @field_validator("listen")
    @classmethod
    def _page_is_not_open_to_all(cls, value: str, others: ValidationInfo) -> str:
        if not value:
            return value
        host, _, port = value.rpartition(":")
        if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+", host) or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be address:port, such as 127.0.0.1:8470")
        if others.data.get("token_file") is None and not is_loopback(host.strip("[]")):
            raise ValueError("can be reached by others: name a token_file, or use 127.0.0.1")
        return value


class LogSettings(Section):
    """How it is told."""

    format: Literal["auto", "console", "json"] = Field(
        "auto",
        description=(
            "auto = console on a terminal, an entry with fields where systemd's journal listens, json otherwise."
        ),
    )
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    cloud: CloudSettings = CloudSettings()
    spool: SpoolSettings = SpoolSettings()
    radio: RadioSettings = RadioSettings()
    recorders: RecorderSettings = RecorderSettings()
    visits: VisitSettings = VisitSettings()
    wire: WireSettings = WireSettings()
    status: StatusSettings = StatusSettings()
    log: LogSettings = LogSettings()


def keys() -> Iterator[tuple[str, str]]:
    """Every setting as (section, key), in the order of the file."""
    for section, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            for key in type(field.default).model_fields:
                yield section, key


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine; plain HTTP is allowed there only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
