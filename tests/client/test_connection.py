"""Which server and key: who wins, and that a key goes nowhere it does not belong."""

import json
from pathlib import Path

import pytest

from client.api import Alidade
from client.connection import KEY_VARIABLE, URL_VARIABLE, Connection, find_connection
from client.errors import Misconfigured

HERE = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    kept = {"url": HERE, "api_key": "kept", "username": "admin", "password": "p"}
    (tmp_path / "credentials.json").write_text(json.dumps(kept))
    return tmp_path


def test_what_up_has_left_is_enough(state: Path) -> None:
    assert find_connection(None, None, state) == Connection(HERE, "kept")


def test_the_environment_wins_over_it_and_options_over_both(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://other")
    monkeypatch.setenv(KEY_VARIABLE, "env")
    assert find_connection(None, None, state) == Connection("http://other", "env")
    assert find_connection("http://third", "option", state) == Connection("http://third", "option")


def test_a_kept_key_goes_to_its_own_server_only(state: Path) -> None:
    assert find_connection(HERE + "/", None, state).api_key == "kept"
    with pytest.raises(Misconfigured, match="keys add --owner"):
        find_connection("http://elsewhere:8000", None, state)


def test_a_missing_server_and_a_missing_key_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="alidade up"):
        find_connection(None, None, tmp_path)
    with pytest.raises(Misconfigured, match="--api-key"):
        find_connection(HERE, None, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1}'])
def test_broken_credentials_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "credentials.json").write_text(content)
    with pytest.raises(Misconfigured, match=r"credentials\.json"):
        find_connection(None, None, tmp_path)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://[::1"])
def test_an_address_that_is_none_is_said_to_be_none(url: str) -> None:
    with pytest.raises(Misconfigured, match="not an address"):
        Alidade(url, "key")


def test_a_key_with_foreign_characters_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Misconfigured, match="copied whole"):
        Alidade(HERE, "kéy\n")
