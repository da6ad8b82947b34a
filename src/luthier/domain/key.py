"""Who calls, and what they may do."""

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

from luthier.domain.names import ID_CHARACTERS

KEY_PREFIX = "key_"
SECRET_PREFIX = "sk-"
_SECRET_CHARACTERS = 43  # of 62: 256 bits


class Scope(StrEnum):
    """What a caller may do. None holds another, but `admin`, which holds all."""

    READ = "read"
    INFER = "infer"
    TRAIN = "train"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key, without its secret.

    Args:
        name: for people; no two keys that are not revoked share one.
        digest: SHA-256 of the secret. The secret is random, 256 bits: nothing slower is needed against guessing.
        hint: the secret's last characters, by which its owner knows it.
        expires_at: Unix seconds, None for never.
        revoked_at: Unix seconds; a revoked key stays, so that a server does not open itself when its last key goes.
        requests_per_minute: most requests, None without limit.
        tokens_per_minute: most tokens, read and generated, None without limit.
    """

    id: str
    name: str
    digest: str
    hint: str
    scopes: tuple[Scope, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True)
class Principal:
    """Who a request comes from.

    Args:
        id: of the key, `oidc:` and the subject of a token, or `anyone` where no key is asked.
        name: for messages and logs.
        requests_per_minute, tokens_per_minute: as of the key.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def may(self, *scopes: Scope) -> bool:
        """Whether one of `scopes` is among the caller's."""
        return Scope.ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)


ANYONE = Principal("anyone", "anyone", frozenset(Scope))


def new_secret() -> str:
    """A fresh secret that nobody can guess."""
    return SECRET_PREFIX + "".join(secrets.choice(ID_CHARACTERS) for _ in range(_SECRET_CHARACTERS))


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def hint_of(secret: str) -> str:
    """A secret as it may be shown: `sk-…abcd`."""
    tail = secret[-4:] if len(secret) >= 16 else ""
    return f"{SECRET_PREFIX if secret.startswith(SECRET_PREFIX) else ''}…{tail}"
