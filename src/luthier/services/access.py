"""Who calls: by key, by token, or anybody where no key is asked."""

from luthier.config import Settings
from luthier.domain.key import ANYONE, SECRET_PREFIX, Principal
from luthier.errors import AuthenticationError
from luthier.services.keys import KeyService
from luthier.services.oidc import TokenVerifier


class AccessService:
    """
    Args:
        tokens: checks the tokens of an issuer; None where none is named.
    """

    def __init__(self, settings: Settings, keys: KeyService, tokens: TokenVerifier | None) -> None:
        self._keys = keys
        self._tokens = tokens
        self._required = settings.require_key
        if self._required is None and tokens is not None:
            self._required = True

    def asks(self) -> bool:
        """Whether callers need a key. Once that is so because a key was made, it stays so."""
        if self._required is None and self._keys.any():
            self._required = True
        return bool(self._required)

    def identify(self, credential: str | None) -> Principal:
        """Who comes with this key or token.

        Raises:
            AuthenticationError: one is asked, and this is none.
            UnavailableError: a token cannot be checked now.
        """
        if not self.asks():
            return ANYONE
        if not credential:
            raise AuthenticationError(
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or in an api-key header. Whoever runs this server "
                "makes keys with `luthier keys create NAME`."
            )
        if self._tokens is not None and credential.count(".") == 2 and not credential.startswith(SECRET_PREFIX):
            return self._tokens.identify(credential)
        return self._keys.identify(credential)
