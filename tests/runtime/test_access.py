"""Keys, passwords and tokens."""

import base64
import json
import os
import stat
import time
from pathlib import Path

import jwt
import pytest

from contracts.errors import ConfigurationError
from runtime.access import Access, Principal, add_api_key, create_access_file, is_loopback
from runtime.settings import AccessSettings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.json"


def _touch_later(path: Path) -> None:
    """Make sure the change can be seen on file systems with coarse clocks."""
    later = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))


def test_only_hashes_are_kept_and_only_for_the_owner_of_the_file(path: Path) -> None:
    credentials = create_access_file(path)
    text = path.read_text()
    assert credentials.api_key not in text
    assert credentials.password not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_access_file(path)


def test_the_right_key_and_password_come_in_and_no_other(path: Path) -> None:
    credentials = create_access_file(path, "ada")
    access = Access(AccessSettings(file=path), "127.0.0.1")
    assert access.by_api_key(credentials.api_key) == Principal("ada")
    assert access.by_api_key(credentials.api_key + "x") is None
    assert access.by_api_key("") is None
    assert access.by_password("ada", credentials.password) == Principal("ada")
    assert access.by_password("ada", credentials.api_key) is None
    assert access.by_password("eve", credentials.password) is None


def test_a_key_added_while_running_is_taken_up(path: Path) -> None:
    first = create_access_file(path, "ada")
    access = Access(AccessSettings(file=path), "127.0.0.1")
    key = add_api_key(path, "bob")
    _touch_later(path)
    assert access.by_api_key(key) == Principal("bob")
    assert access.by_api_key(first.api_key) == Principal("ada")


def test_tokens_say_who_expire_and_cannot_be_forged(path: Path) -> None:
    create_access_file(path, "ada")
    access = Access(AccessSettings(file=path), "127.0.0.1")
    token = access.issue_token(Principal("ada"))
    assert access.by_bearer(token) == Principal("ada")
    secret = json.loads(path.read_text())["token_secrets"][0]
    moment = int(time.time())
    claims = {"sub": "ada", "iat": moment - 2000, "exp": moment - 1000}
    assert access.by_token(jwt.encode(claims, secret, algorithm="HS256")) is None, "expired"
    claims = {"sub": "ada", "iat": moment, "exp": moment + 1000}
    assert access.by_token(jwt.encode(claims, "x" * 48, algorithm="HS256")) is None, "signed by somebody else"
    assert access.by_token(jwt.encode(claims, secret, algorithm="HS512")) is None, "another algorithm"
    assert access.by_token(jwt.encode(claims, "", algorithm="none")) is None, "not signed"
    del claims["exp"]
    assert access.by_token(jwt.encode(claims, secret, algorithm="HS256")) is None, "valid for ever"


def unsigned(header: bytes, claims: bytes = b"{}") -> str:
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims, b"signature")).decode()


HOSTILE_TOKENS = (
    "..",
    "a.b.c",
    unsigned(b""),
    unsigned(b"\xff\xfe"),
    unsigned(b"[]"),
    unsigned(b"null"),
    unsigned(b"[" * 4000),
    unsigned(b'{"a":' * 1500),
    unsigned(b'{"alg": ["HS256"]}'),
    unsigned(b'{"alg": {"HS256": 1}}'),
    unsigned(b'{"alg": "HS256", "kid": 5}'),
    unsigned(b'{"alg": "HS256", "b64": false, "crit": ["b64"]}'),
    unsigned(b'{"alg": "HS256"}', b"[" * 4000),
    unsigned(b'{"alg": NaN}'),
    unsigned(b'{"alg": ' + b"9" * 5000 + b"}"),
)


def test_what_is_no_token_of_ours_lets_nobody_in_and_breaks_nothing(path: Path) -> None:
    create_access_file(path, "ada")
    access = Access(AccessSettings(file=path), "127.0.0.1")
    for token in HOSTILE_TOKENS:
        assert access.by_bearer(token) is None, token[:60]


def test_secrets_rotate_without_throwing_anybody_out(path: Path) -> None:
    create_access_file(path, "ada")
    access = Access(AccessSettings(file=path), "127.0.0.1")
    old = access.issue_token(Principal("ada"))
    content = json.loads(path.read_text())
    content["token_secrets"].insert(0, "n" * 48)
    path.write_text(json.dumps(content))
    _touch_later(path)
    new = access.issue_token(Principal("ada"))
    assert access.by_token(old) == access.by_token(new) == Principal("ada")
    assert jwt.decode(new, "n" * 48, algorithms=["HS256"])["sub"] == "ada"


@pytest.mark.parametrize(
    ("anonymous", "host", "allowed"),
    [
        ("loopback", "127.0.0.1", True),
        ("loopback", "::1", True),
        ("loopback", "localhost", True),
        ("loopback", "0.0.0.0", False),
        ("loopback", "192.168.1.2", False),
        ("loopback", "example.org", False),
        ("always", "0.0.0.0", True),
        ("never", "127.0.0.1", False),
    ],
)
def test_anonymous_use_holds_on_loopback_only_unless_told_otherwise(
    path: Path, anonymous: str, host: str, allowed: bool
) -> None:
    create_access_file(path)
    settings = AccessSettings.model_validate({"file": path, "anonymous": anonymous})
    assert Access(settings, host).allows_anonymous is allowed


def test_loopback_addresses() -> None:
    assert is_loopback("127.3.4.5")
    assert not is_loopback("")


@pytest.mark.parametrize("content", ["", "{}", '{"token_secrets": ["short"]}', "[]"])
def test_a_broken_access_file_is_named_and_never_quoted(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"access\.json") as caught:
        Access(AccessSettings(file=path), "127.0.0.1")
    assert "short" not in str(caught.value)
