"""Keys: making them, listing them, taking them back, and knowing who comes with one."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from luthier.domain.key import KEY_PREFIX, ApiKey, Principal, Scope, digest_of, hint_of, new_secret
from luthier.domain.names import new_id
from luthier.errors import AuthenticationError, InvalidRequestError
from luthier.storage.keys import KeyStore

DEFAULT_SCOPES = (Scope.READ, Scope.INFER, Scope.TRAIN)
INCORRECT = "invalid_api_key"  # code of every refused key
_MAX_NAME = 128


class KeyService:
    """What `luthier keys` does, and what the server asks about a caller's key."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def create(
        self,
        name: str,
        scopes: Sequence[Scope] = DEFAULT_SCOPES,
        *,
        expires_at: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key.

        Args:
            expires_at: Unix seconds, None for never.

        Returns:
            The key and its secret, which can be shown now and never again.

        Raises:
            InvalidRequestError: a name that is none or taken, no scope, a time that is over, a limit below 1.
        """
        if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
            raise InvalidRequestError(f"A key needs a name of 1 to {_MAX_NAME} printable characters.", param="name")
        if not scopes:
            raise InvalidRequestError(f"A key needs a scope: {', '.join(Scope)}.", param="scopes")
        now = int(time.time())
        if expires_at is not None and expires_at <= now:
            raise InvalidRequestError("A key cannot expire before it is made.", param="expires")
        for limit, value in (("requests_per_minute", requests_per_minute), ("tokens_per_minute", tokens_per_minute)):
            if value is not None and not 1 <= value < 2**63:
                raise InvalidRequestError("A limit is at least 1; leave it out for none.", param=limit)
        secret = new_secret()
        key = ApiKey(
            id=new_id(KEY_PREFIX),
            name=name,
            digest=digest_of(secret),
            hint=hint_of(secret),
            scopes=tuple(scope for scope in Scope if scope in scopes),
            created_at=now,
            expires_at=expires_at,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        return self._keys.add(key), secret

    def list(self) -> tuple[ApiKey, ...]:
        """All, oldest first, those that no longer count too."""
        return self._keys.list()

    def revoke(self, name_or_id: str) -> ApiKey:
        """Take a key back: from now on it is refused.

        Raises:
            NotFoundError: no key that is not revoked yet has this name or id.
        """
        return self._keys.revoke(name_or_id, int(time.time()))

    def any(self) -> bool:
        """Whether a key was ever made. From then on callers are asked for one."""
        return self._keys.any()

    def any_valid(self) -> bool:
        """Whether somebody could come in with a key now."""
        now = time.time()
        return any(key.revoked_at is None and not _expired(key, now) for key in self._keys.list())

    def identify(self, secret: str) -> Principal:
        """Who comes with this secret.

        Raises:
            AuthenticationError: it is no key's, or its key is revoked or expired.
        """
        key = self._keys.find(digest_of(secret))
        if key is None or key.revoked_at is not None:
            why = "" if key is None else " It has been revoked."
            raise AuthenticationError(
                f"Incorrect API key provided: {hint_of(secret)}.{why} Whoever runs this server makes keys with "
                "`luthier keys create NAME`.",
                code=INCORRECT,
            )
        if _expired(key, time.time()):
            assert key.expires_at is not None
            raise AuthenticationError(
                f"Incorrect API key provided: {key.hint}. It expired at "
                f"{datetime.fromtimestamp(key.expires_at, UTC):%Y-%m-%d %H:%M} UTC. Whoever runs this server makes "
                "keys with `luthier keys create NAME`.",
                code=INCORRECT,
            )
        return Principal(key.id, key.name, frozenset(key.scopes), key.requests_per_minute, key.tokens_per_minute)


def _expired(key: ApiKey, now: float) -> bool:
    return key.expires_at is not None and key.expires_at <= now
