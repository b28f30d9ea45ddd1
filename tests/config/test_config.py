import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway import config_loading
from bota_gateway.config import CloudSettings, Settings
from bota_gateway.errors import ConfigError

KEY = "sk_test_0123456789abcdef"


def write(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_a_file_the_defaults_hold() -> None:
    """No file means the defaults that the documentation states."""
    settings = config_loading.load(None, {})
    assert settings.cloud.api_base == "https://api.bota.dev/v1"
    assert settings.recorders.confirm == "after_stored"


def test_a_file_is_read_and_the_environment_lies_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key can be given in the file and overridden by BOTA_GATEWAY_SECTION__KEY."""
    path = write(tmp_path, '[radio]\nmax_links = 2\nadapters = ["hci1"]\n[recorders.map]\nABC123 = "dev_1"\n')
    monkeypatch.setenv("BOTA_GATEWAY_RADIO__MAX_LINKS", "4")
    settings = config_loading.load(path)
    assert settings.radio.max_links == 4
    assert settings.radio.adapters == ("hci1",)
    assert settings.recorders.map == {"ABC123": "dev_1"}


@pytest.mark.parametrize(
    ("text", "named", "nearest"),
    [
        ("[cloud]\napi_bsae = 'x'\n", "cloud.api_bsae", "cloud.api_base"),
        ("[clowd]\napi_base = 'x'\n", "clowd", "cloud"),
        ("[radio]\nretention_hours = 3\n", "radio.retention_hours", "spool.retention_hours"),
        ("max_links = 3\n", "max_links", None),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    tmp_path: Path, text: str, named: str, nearest: str | None
) -> None:
    """A misspelt key is an error that names it and the key that was probably meant."""
    with pytest.raises(ConfigError) as refused:
        config_loading.load(write(tmp_path, text), {})
    assert refused.value.error_code == "config_unknown_key"
    assert named in refused.value.message
    if nearest:
        assert f"did you mean {nearest}?" in refused.value.message


@pytest.mark.parametrize("name", ["BOTA_GATEWAY_CLUOD__API_KEY", "BOTA_GATEWAY_CLOUD_API_KEY"])
def test_an_unknown_environment_variable_is_named_with_the_nearest_known_one(name: str) -> None:
    """A misspelt variable, or one with a single underscore, would be ignored in silence otherwise."""
    with pytest.raises(ConfigError, match="did you mean BOTA_GATEWAY_CLOUD__API_KEY"):
        config_loading.load(None, {name: KEY})


@pytest.mark.parametrize("name", ["RADIO__ADAPTERS", "RECORDERS__MAP", "CLOUD"])
def test_a_list_in_the_environment_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its section and the form it must have are said, and not what stands in it."""
    monkeypatch.setenv(f"BOTA_GATEWAY_{name}", KEY)
    with pytest.raises(ConfigError, match=name.partition("__")[0].lower()) as refused:
        config_loading.load(None)
    assert "JSON" in refused.value.next_step
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[radio]\nmax_links = 0\n", "radio.max_links"),
        ("[radio]\nmax_links = 'three'\n", "radio.max_links"),
        ("[cloud]\ncontent_type = 'audio/opus'\n", "cloud.content_type"),
        ("[cloud]\napi_base = 'http://api.bota.dev/v1'\n", "https://"),
        ("[cloud]\napi_base = 'https://api.bota.dev'\n", "/v1"),
        ("[cloud]\napi_base = 'https://me:secret@api.bota.dev/v1'\n", "plain URL"),
        ("[recorders.map]\nABC = 'rec_1'\n", "recorders.map"),
        ("[recorders]\nallow = ['../etc']\n", "recorders.allow"),
        ("[status]\nlisten = '0.0.0.0:8470'\n", "status.listen"),
        ("[status]\nlisten = '127.0.0.1'\n", "status.listen"),
        ("[status]\nlisten = '127.0.0.1:99999'\n", "status.listen"),
        ("cloud = 3\n", "section"),
        ("[cloud\n", "line 1"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """A value that can't be used is refused with the name of its key."""
    with pytest.raises(ConfigError) as refused:
        config_loading.load(write(tmp_path, text), {})
    assert expected in refused.value.message
    assert refused.value.next_step


def test_plain_http_is_allowed_on_loopback_only(tmp_path: Path) -> None:
    """An emulated cloud on this machine needs no certificate."""
    settings = config_loading.load(write(tmp_path, "[cloud]\napi_base = 'http://127.0.0.1:8080/v1'\n"), {})
    assert settings.cloud.api_base == "http://127.0.0.1:8080/v1"


def test_a_missing_file_is_said_with_what_to_do(tmp_path: Path) -> None:
    """The error names the file that does not exist."""
    with pytest.raises(ConfigError) as refused:
        config_loading.load(tmp_path / "nowhere.toml", {})
    assert refused.value.error_code == "config_no_file"
    assert "nowhere.toml" in refused.value.message


def test_a_file_that_is_closed_to_this_user_is_no_bad_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold the key: who may not read it is sent to sudo, and not to look for mistakes in it."""

    def closed(*_: object) -> str:
        raise PermissionError

    path = write(tmp_path, "")
    monkeypatch.setattr(Path, "read_text", closed)  # these tests may run as root, for whom nothing is closed
    with pytest.raises(ConfigError) as refused:
        config_loading.load(path, {})
    assert (refused.value.error_code, refused.value.next_step) == ("config_closed", "Use sudo.")


def test_a_key_in_a_file_others_may_read_is_refused(tmp_path: Path) -> None:
    """A key in the configuration file is accepted only when the file is closed to others."""
    text = f"[cloud]\napi_key = '{KEY}'\n"
    with pytest.raises(ConfigError) as refused:
        config_loading.load(write(tmp_path, text, 0o644), {})
    assert refused.value.error_code == "config_key_exposed"
    assert KEY not in str(refused.value)
    settings = config_loading.load(write(tmp_path, text, 0o640), {})
    assert config_loading.api_key(settings, {}).get_secret_value() == KEY


def test_a_key_file_others_may_read_is_refused(tmp_path: Path) -> None:
    """The file named by cloud.api_key_file must be closed to others, too."""
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    settings = config_loading.load(write(tmp_path, f"[cloud]\napi_key_file = '{file}'\n"), {})
    file.chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        config_loading.api_key(settings, {})
    assert refused.value.error_code == "config_key_exposed"
    file.chmod(stat.S_IRUSR)
    assert config_loading.api_key(settings, {}).get_secret_value() == KEY


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    """The error names the file, and how to make it."""
    settings = config_loading.load(write(tmp_path, "[cloud]\napi_key_file = '/nowhere/key'\n"), {})
    with pytest.raises(ConfigError, match="/nowhere/key") as refused:
        config_loading.api_key(settings, {})
    assert refused.value.error_code == "config_no_key"


def test_a_key_file_behind_a_closed_door_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file or its directory is closed to the gateway's user: one sentence, and what to do."""

    def closed(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    settings = config_loading.load(write(tmp_path, "[cloud]\napi_key_file = '/closed/key'\n"), {})
    monkeypatch.setattr(Path, "is_file", closed)  # these tests may run as root, for whom nothing is closed
    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(ConfigError, match="/closed/key can't be read: Permission denied") as refused:
        config_loading.api_key(settings, {})
    assert refused.value.error_code == "config_no_key"
    assert "sudo" in refused.value.next_step


def test_the_systemd_credential_comes_before_all_else(tmp_path: Path) -> None:
    """A credential handed over by systemd wins over environment and file."""
    (tmp_path / config_loading.CREDENTIAL_NAME).write_text("sk_live_fromsystemd\n")
    settings = config_loading.load(None, {})
    key = config_loading.api_key(settings, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert key.get_secret_value() == "sk_live_fromsystemd"


def test_no_key_at_all_says_the_three_ways_to_give_one() -> None:
    """Without a key the gateway can't reach the cloud, and says how to give one."""
    with pytest.raises(ConfigError) as refused:
        config_loading.api_key(config_loading.load(None, {}), {})
    assert "BOTA_GATEWAY_CLOUD__API_KEY" in refused.value.next_step


@given(st.text(max_size=40))
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    """A pasted password or a truncated key never shows up in the error."""
    settings = Settings(cloud=CloudSettings.model_validate({"api_key": f"#{text}"}))
    with pytest.raises(ConfigError) as refused:
        config_loading.api_key(settings, {})
    assert refused.value.error_code == "config_key_shape"
    assert f"#{text}" not in str(refused.value)


def test_a_password_in_the_base_is_never_repeated(tmp_path: Path) -> None:
    """Whoever writes credentials into the URL does not find them in a log."""
    with pytest.raises(ConfigError) as refused:
        config_loading.load(write(tmp_path, "[cloud]\napi_base = 'https://me:hunter2@api.bota.dev/v1'\n"), {})
    assert "hunter2" not in str(refused.value)


def test_a_bad_value_of_the_key_is_never_repeated(tmp_path: Path) -> None:
    """Validation errors of the key itself leave its value out."""
    with pytest.raises(ConfigError) as refused:
        config_loading.load(write(tmp_path, "[cloud]\napi_key = ['sk_live_oops']\n"), {})
    assert "oops" not in str(refused.value)
