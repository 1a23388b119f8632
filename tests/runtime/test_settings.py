"""Settings: safe defaults, environment over file, unknown names refused."""

from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from runtime.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALIDADE_CONFIG", "ALIDADE_GATEWAY__PORT"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_no_file_and_bind_to_loopback() -> None:
    settings = load_settings()
    assert settings.gateway.host == settings.notifier.host == settings.ops.host == "127.0.0.1"
    assert (settings.gateway.port, settings.gateway.remap_port) == (8000, 5000)
    assert settings.gateway.upload_limit_bytes == 10 * 1024**3


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alidade.toml"
    file.write_text('[gateway]\nport = 1234\nhost = "127.0.0.2"\n')
    monkeypatch.setenv("ALIDADE_CONFIG", str(file))
    monkeypatch.setenv("ALIDADE_GATEWAY__PORT", "4321")
    settings = load_settings()
    assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.2", 4321)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALIDADE_GATEWY__PORT", "8000"),
        ("ALIDADE_GATEWAY__PROT", "8000"),
        ("ALIDADE_PORT", "8000"),
        ("ALIDADE_GATEWAY__PORT", "eight thousand"),
        ("ALIDADE_GATEWAY__PORT", "99999"),
        ("ALIDADE_CONFIG", "no-such-file.toml"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=r"(?i)gatew|port|no-such-file"):
        load_settings()


def test_unknown_names_in_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alidade.toml"
    file.write_text("[gateway]\nprot = 1234\n")
    monkeypatch.setenv("ALIDADE_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match="prot"):
        load_settings()


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = Settings.model_validate(
        {"bus": {"url": "nats://hidden@host:4222", "password": "hidden"}, "store": {"secret_key": "hidden"}}
    )
    assert "hidden" not in repr(settings)
