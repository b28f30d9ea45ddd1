"""Reads the configuration: the file, the environment over it, and the key from where it is kept."""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError

from bota_gateway.config import ENV_PREFIX, Settings, keys
from bota_gateway.errors import ConfigError

CREDENTIAL_NAME = "bota-api-key"
"""Name of the systemd credential that holds the key (the unit's ``LoadCredential=``)."""
KEY_SHAPE = re.compile(r"(sk_live|sk_test|rk_live|rk_test)_[A-Za-z0-9_-]{1,240}")
"""Secret and restricted keys as the vendor's samples accept them (docs/cloud-api.md, "Credentials")."""


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
        key = _read_secret(file)
        _refuse_readable_by_others(file)
        return _shaped(key, str(file))
    raise ConfigError(
        "There is no API key.",
        code="config_no_key",
        remedy=f"Give it as the systemd credential {CREDENTIAL_NAME}, as {ENV_PREFIX}CLOUD__API_KEY, "
        "or in a file named by cloud.api_key_file.",
    )


def _read_toml(path: Path) -> dict[str, dict[str, object]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"The configuration file {path} does not exist.",
            code="config_no_file",
            remedy="Copy config.example.toml there, or name another with --config.",
        ) from None
    except PermissionError:
        raise ConfigError(
            f"The configuration file {path} is closed to this user.", code="config_closed", remedy="Use sudo."
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
    sections = tuple(f"{ENV_PREFIX}{section}_".upper() for section in Settings.model_fields)
    for name in environ:
        is_meant = name.upper().startswith(sections) or (name.upper().startswith(ENV_PREFIX) and "__" in name)
        if is_meant and name.upper() not in known:
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
    except FileNotFoundError:
        raise ConfigError(
            f"The key file {path} named by cloud.api_key_file does not exist.",
            code="config_no_key",
            remedy=f"Put the project's key into it: install -m 600 /dev/stdin {path}",
        ) from None
    except (OSError, UnicodeDecodeError) as unreadable:
        reason = unreadable.strerror if isinstance(unreadable, OSError) else "it is no text"
        raise ConfigError(
            f"The key file {path} can't be read: {reason}.",
            code="config_no_key",
            remedy="It has to be a file with the key alone, of the gateway's user: chown and chmod 600, or use sudo.",
        ) from None


def _shaped(key: str, where: str) -> SecretStr:
    key = key.strip()
    if not KEY_SHAPE.fullmatch(key):
        raise ConfigError(
            f"What stands in {where} is no API key: a key starts with sk_live_, sk_test_, rk_live_ or rk_test_.",
            code="config_key_shape",
            remedy="Copy the key again from the project's dashboard, without quotes or blanks.",
        )
    return SecretStr(key)
