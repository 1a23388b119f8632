"""Who may come in: API keys, passwords and short-lived tokens. Only hashes are kept.

API keys are 256 random bits, so a plain SHA-256 of them cannot be searched; passwords are what people choose, so they
get argon2id. Tokens are JWTs signed with HS256 (RFC 7519), with the algorithm pinned.
"""

import hashlib
import ipaddress
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import AwareDatetime, Field, ValidationError

from contracts.errors import ConfigurationError
from contracts.model import Frozen
from runtime.clock import now
from runtime.settings import AccessSettings

ANONYMOUS_OWNER = "anonymous"
_KEY_PREFIX = "ald_"
_ALGORITHM = "HS256"
_CLOCK_SKEW_S = 30


@dataclass(frozen=True)
class Principal:
    """Somebody who has come in. Jobs and data sets belong to the owner's name."""

    owner: str


ANONYMOUS = Principal(ANONYMOUS_OWNER)


class KeyRecord(Frozen):
    """An API key, as it is kept."""

    owner: Annotated[str, Field(min_length=1, max_length=64)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_at: AwareDatetime


class UserRecord(Frozen):
    """A person with a password, as it is kept."""

    username: Annotated[str, Field(min_length=1, max_length=64)]
    argon2: str


class AccessFile(Frozen):
    """The file named by `access.file`: everything that lets somebody in."""

    keys: tuple[KeyRecord, ...] = ()
    users: tuple[UserRecord, ...] = ()
    token_secrets: tuple[Annotated[str, Field(min_length=32)], ...]
    """The first signs; all verify. Put a new one in front to rotate, drop the old one after a token's lifetime."""


@dataclass(frozen=True)
class Credentials:
    """What a person needs to come in, in clear. Exists only when it is made."""

    api_key: str
    username: str
    password: str


def create_access_file(path: Path, owner: str = "admin", api_key: str | None = None) -> Credentials:
    """Write a new access file (mode 0600) with one owner who has a key and a password; return both in clear.

    `api_key` sets the key instead of drawing one. Raises FileExistsError if there is a file.
    """
    credentials = Credentials(api_key or new_api_key(), owner, secrets.token_urlsafe(18))
    content = AccessFile(
        keys=(KeyRecord(owner=owner, sha256=hash_api_key(credentials.api_key), created_at=now()),),
        users=(UserRecord(username=owner, argon2=PasswordHasher().hash(credentials.password)),),
        token_secrets=(secrets.token_urlsafe(48),),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content.model_dump_json(indent=2))
    return credentials


def add_api_key(path: Path, owner: str) -> str:
    """Add a key for `owner` to the access file and return it in clear. Running services notice by themselves."""
    content = read_access_file(path)
    api_key = new_api_key()
    record = KeyRecord(owner=owner, sha256=hash_api_key(api_key), created_at=now())
    replacement = path.with_name(path.name + ".new")
    descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content.model_copy(update={"keys": (*content.keys, record)}).model_dump_json(indent=2))
    replacement.replace(path)
    return api_key


def read_access_file(path: Path) -> AccessFile:
    """Raises ConfigurationError that names the file, never its contents."""
    try:
        return AccessFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigurationError(f"The access file {path} cannot be read ({type(error).__name__}).") from None


def new_api_key() -> str:
    return _KEY_PREFIX + secrets.token_urlsafe(32)


def hash_api_key(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Checks keys, passwords and tokens against the access file, and takes up its changes while running."""

    def __init__(self, settings: AccessSettings, bound_to: str) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._file = AccessFile(token_secrets=(secrets.token_urlsafe(48),))
        self._owners: dict[str, str] = {}
        self._hasher = PasswordHasher()
        # Verified when the user is unknown, so that an answer takes as long as for one that is known.
        self._decoy = self._hasher.hash(secrets.token_urlsafe(18))
        self.allows_anonymous = settings.anonymous == "always" or (
            settings.anonymous == "loopback" and is_loopback(bound_to)
        )
        """Whether the APIs that are documented without authentication may be used without a key."""
        self._reload_if_changed()

    def by_api_key(self, api_key: str) -> Principal | None:
        """The owner of a key. What is compared are hashes, so timing tells nothing about a key."""
        self._reload_if_changed()
        owner = self._owners.get(hash_api_key(api_key))
        return Principal(owner) if owner else None

    def by_password(self, username: str, password: str) -> Principal | None:
        """The person with this password. Takes about 50 ms by intent: call it in a thread."""
        self._reload_if_changed()
        known = next((user.argon2 for user in self._file.users if user.username == username), None)
        try:
            self._hasher.verify(known or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return None
        return Principal(username) if known else None

    def issue_token(self, principal: Principal) -> str:
        """A JWT that says who came in, for `access.token_lifetime_s`."""
        self._reload_if_changed()
        issued_at = int(time.time())
        claims = {"sub": principal.owner, "iat": issued_at, "exp": issued_at + self._settings.token_lifetime_s}
        return jwt.encode(claims, self._file.token_secrets[0], algorithm=_ALGORITHM)

    def by_token(self, token: str) -> Principal | None:
        """Who a token was issued to, if it is ours and has not expired."""
        self._reload_if_changed()
        for secret in self._file.token_secrets:
            try:
                claims = jwt.decode(
                    token,
                    secret,
                    algorithms=[_ALGORITHM],
                    leeway=_CLOCK_SKEW_S,
                    options={"require": ["sub", "iat", "exp"]},
                )
            except jwt.InvalidTokenError:
                continue
            return Principal(str(claims["sub"]))
        return None

    def by_bearer(self, credential: str) -> Principal | None:
        """The owner of an API key or the person a token was issued to."""
        return self.by_api_key(credential) or (self.by_token(credential) if credential.count(".") == 2 else None)

    def _reload_if_changed(self) -> None:
        with self._lock:
            try:
                status = self._settings.file.stat()
            except OSError as error:
                raise ConfigurationError(f"The access file {self._settings.file} is gone ({error.strerror}).") from None
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            self._file = read_access_file(self._settings.file)
            self._owners = {record.sha256: record.owner for record in self._file.keys}
            self._stamp = stamp
