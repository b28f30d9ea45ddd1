"""Configuration: one TOML file, every key also as ``BOTA_GATEWAY_SECTION__KEY``.

Where the vendor's documents or implementations disagree, the choice is a setting here, with its reason.
``config.example.toml`` and ``docs/settings.md`` are generated from these fields.
"""

import difflib
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError

from bota_gateway.errors import ConfigError

ENV_PREFIX = "BOTA_GATEWAY_"
CREDENTIAL_NAME = "bota-api-key"
"""Name of the systemd credential that holds the key (the unit's ``LoadCredential=``)."""
KEY_SHAPE = re.compile(r"(sk_live|sk_test|rk_live|rk_test)_[A-Za-z0-9_-]{1,240}")
"""Secret and restricted keys as the vendor's samples accept them (docs/cloud-api.md, "Credentials")."""

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
    at_most_s: Seconds = Field(900, description="No transfer is begun later than this into a visit.")
    linger_s: Annotated[float, Field(ge=0, le=60)] = Field(
        6, description="How long a link waits for an upload that is about to finish, to confirm in the same visit."
    )
    stranger_recheck_s: Seconds = Field(86_400, description="A stranger is looked at again after this.")


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
    listen: str = Field(
        "",
        description="Loopback address:port for a status page; empty = off. This version has no page: leave it empty.",
    )

    @field_validator("listen")
    @classmethod
    def _no_page_yet(cls, value: str) -> str:
        if value:
            raise ValueError("must be empty: this version has no status page, ask with 'bota-gateway status'")
        return value


class LogSettings(Section):
    """How it is told."""

    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto = console on a terminal, json otherwise."
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


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the file (None: defaults only) and lay the environment over it.

    Raises:
        ConfigError: naming every unknown key with the nearest known one, and every bad value.
    """
    table = {} if path is None else _read_toml(path)
    found = "; ".join([*(f"{path}: {one}" for one in _unknown_keys(table)), *_unknown_variables(environ)])
    if found:
        raise ConfigError(f"There is no such setting: {found}.", code="config_unknown_key")

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if path is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    try:
        settings = FromFile()
    except SettingsError as unreadable:  # names the section, and repeats no value
        raise ConfigError(
            f"The environment: {unreadable}.",
            remedy=f"Write lists and tables there as JSON, such as {ENV_PREFIX}RADIO__ADAPTERS='[\"hci0\"]'.",
        ) from None
    except ValidationError as invalid:
        where = f"{path}: " if path else ""
        raise ConfigError(where + "; ".join(_problems(invalid)) + ".") from None
    if path is not None and "api_key" in table.get("cloud", {}):
        _refuse_readable_by_others(path)
    return settings


def api_key(settings: Settings, environ: Mapping[str, str] = os.environ) -> SecretStr:
    """Find the project's key: systemd credential, else environment or file as in the settings.

    Raises:
        ConfigError: when there is none, its file can be read by others, or it has not the shape of a key.
    """
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (credential := Path(credentials, CREDENTIAL_NAME)).is_file():
        return _shaped(_read_secret(credential), f"the systemd credential {CREDENTIAL_NAME}")
    if settings.cloud.api_key is not None:
        return _shaped(settings.cloud.api_key.get_secret_value(), "cloud.api_key")
    if settings.cloud.api_key_file is not None:
        file = settings.cloud.api_key_file
        if not file.is_file():
            raise ConfigError(
                f"The key file {file} named by cloud.api_key_file does not exist.",
                code="config_no_key",
                remedy=f"Put the project's key into it: install -m 600 /dev/stdin {file}",
            )
        _refuse_readable_by_others(file)
        return _shaped(_read_secret(file), str(file))
    raise ConfigError(
        "There is no API key.",
        code="config_no_key",
        remedy=f"Give it as the systemd credential {CREDENTIAL_NAME}, as {ENV_PREFIX}CLOUD__API_KEY, "
        "or in a file named by cloud.api_key_file.",
    )


def keys() -> Iterator[tuple[str, str]]:
    """Every setting as (section, key), in the order of the file."""
    for section, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            for key in type(field.default).model_fields:
                yield section, key


def _read_toml(path: Path) -> dict[str, dict[str, object]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"The configuration file {path} does not exist.",
            code="config_no_file",
            remedy="Copy config.example.toml there, or name another with --config.",
        ) from None
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ConfigError(
            f"The configuration file {path} can't be read: {unreadable}.", code="config_no_file"
        ) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigError(f"{path} is no valid TOML: {wrong}.", code="config_syntax") from None
    for name, value in table.items():
        if name in Settings.model_fields and not isinstance(value, dict):
            raise ConfigError(
                f"{path}: {name} is a section; write [{name}] and its keys below it.", code="config_syntax"
            )
    return table


def _unknown_keys(table: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    known = [f"{section}.{key}" for section, key in keys()]
    for section, entries in table.items():
        if section not in Settings.model_fields:
            yield f"{section}{_nearest(section, [*Settings.model_fields])}"
            continue
        for key in entries:
            name = f"{section}.{key}"
            if name not in known:
                yield f"{name}{_nearest(name, known)}"


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [f"{ENV_PREFIX}{section}__{key}".upper() for section, key in keys()]
    for name in environ:
        if name.upper().startswith(ENV_PREFIX) and "__" in name and name.upper() not in known:
            yield f"environment variable {name}{_nearest(name.upper(), known)}"


def _nearest(name: str, known: list[str]) -> str:
    by_last_part = {full.rpartition(".")[2]: full for full in known}
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    close += [by_last_part[k] for k in difflib.get_close_matches(name.rpartition(".")[2], [*by_last_part], n=1)]
    return f" (did you mean {close[0]}?)" if close else ""


def _problems(invalid: ValidationError) -> Iterator[str]:
    for error in invalid.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in error["loc"])
        # Never repeated: the key, and a URL that someone may have written a password into.
        got = "" if {"api_key", "api_base"} & set(error["loc"]) else f" (it is {error['input']!r})"
        yield f"{name}: {error['msg'].removeprefix('Value error, ')}{got}"


def _refuse_readable_by_others(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(
            f"{path} holds the API key and can be read by everyone on this machine (mode {stat.S_IMODE(mode):04o}).",
            code="config_key_exposed",
            remedy=f"Close it, and renew the key if the machine is shared: chmod o-rwx {path}",
        )


def _read_secret(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        reason = unreadable.strerror if isinstance(unreadable, OSError) else "it is no text"
        raise ConfigError(f"The key file {path} can't be read: {reason}.", code="config_no_key") from None


def _shaped(key: str, where: str) -> SecretStr:
    key = key.strip()
    if not KEY_SHAPE.fullmatch(key):
        raise ConfigError(
            f"What stands in {where} is no API key: a key starts with sk_live_, sk_test_, rk_live_ or rk_test_.",
            code="config_key_shape",
            remedy="Copy the key again from the project's dashboard, without quotes or blanks.",
        )
    return SecretStr(key)


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine; plain HTTP is allowed there only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
