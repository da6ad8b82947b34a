"""Bearer tokens of an OpenID Connect issuer, such as Microsoft Entra ID: JSON Web Tokens, checked by its keys."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from luthier.config import Settings
from luthier.domain.hosts import LOOPBACK
from luthier.domain.key import Principal, Scope
from luthier.errors import AuthenticationError, ConfigError, UnavailableError

if TYPE_CHECKING:
    from jwt import PyJWK

# Signatures by a private key alone. A shared secret (HS256) would let whoever knows the public key sign.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY = 30  # seconds that the clocks of two machines may differ
_MAX_AGE = 3600.0  # seconds after which the issuer's keys are asked for again
_FLOOR = 30.0  # seconds between two questions to the issuer, however many unknown keys are named
_TIMEOUT = 10.0

INVALID_TOKEN = "invalid_token"  # code of every refused token

logger = logging.getLogger("luthier.server")


class TokenVerifier:
    """Checks tokens: signature, issuer, audience, and that they hold now.

    Args:
        issuer: the claim `iss`.
        audience: the claim `aud`, or one of it.
        keys: the issuer's public keys.
        scopes_claim: the claim with the scopes, a list or a text with spaces between them.
        scopes: a scope of the token → ours. A scope that has our name needs no entry.
        requests_per_minute, tokens_per_minute: limits of each subject, None without.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: "KeySet",
        scopes_claim: str,
        scopes: dict[str, Scope],
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._claim = scopes_claim
        self._scopes = {scope.value: scope for scope in Scope} | scopes
        self._limits = (requests_per_minute, tokens_per_minute)

    @classmethod
    def of(cls, settings: Settings) -> "TokenVerifier | None":
        """As the settings have it; None where they name no issuer.

        Raises:
            ConfigError: issuer, audience and URL are not all there, the URL is not safe to ask, or there are limits
                for tokens of an issuer that is not named.
        """
        given = {
            "LUTHIER_OIDC_ISSUER": settings.oidc_issuer,
            "LUTHIER_OIDC_AUDIENCE": settings.oidc_audience,
            "LUTHIER_OIDC_JWKS_URL": settings.oidc_jwks_url,
        }
        limits = {
            "requests_per_minute": settings.oidc_requests_per_minute,
            "tokens_per_minute": settings.oidc_tokens_per_minute,
        }
        if not any(given.values()):
            for name, value in limits.items():
                if value is not None:
                    raise ConfigError(
                        f"LUTHIER_OIDC_{name.upper()} is for tokens of an issuer, and none is named. Set "
                        f"{', '.join(given)}; or give keys their limits: luthier keys create NAME --"
                        f"{name.replace('_', '-')} {value}."
                    )
            return None
        if missing := [name for name, value in given.items() if not value]:
            raise ConfigError(f"Tokens of an issuer need all of {', '.join(given)}. Set {' and '.join(missing)} too.")
        issuer, audience, url = (value or "" for value in given.values())
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ConfigError(
                f"LUTHIER_OIDC_JWKS_URL must be an https URL, not {url}: whoever answers it makes tokens."
            )
        scopes = _scopes(settings.oidc_scopes)
        return cls(issuer, audience, KeySet(url), settings.oidc_scopes_claim, scopes, **limits)

    def identify(self, token: str) -> Principal:
        """Who comes with this token.

        Raises:
            AuthenticationError: it is none of this issuer for this server now.
            UnavailableError: the issuer's keys cannot be had.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.find(header.get("kid"), str(header.get("alg")))
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise AuthenticationError(f"The bearer token is not valid here: {error}.", code=INVALID_TOKEN) from None
        subject = str(claims["sub"])
        return Principal(f"oidc:{subject}", subject, self._granted(claims.get(self._claim)), *self._limits)

    def _granted(self, value: Any) -> frozenset[Scope]:
        names = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
        return frozenset(self._scopes[name] for name in names if isinstance(name, str) and name in self._scopes)


def _scopes(pairs: Iterable[str]) -> dict[str, Scope]:
    """`Models.Use=infer` → {"Models.Use": Scope.INFER}

    Raises:
        ConfigError: no such pair, or no such scope.
    """
    found = {}
    for pair in pairs:
        name, _, scope = (part.strip() for part in pair.rpartition("="))
        if not name or scope not in set(Scope):
            raise ConfigError(
                f"LUTHIER_OIDC_SCOPES holds '{pair}'. Write NAME=SCOPE with commas between several; the scopes are "
                f"{', '.join(Scope)}."
            )
        found[name] = Scope(scope)
    return found


class KeySet:
    """An issuer's public keys (JWKS), fetched when first needed and again when a token names a key that is not there.

    Args:
        url: where they are.
        clock: seconds that only grow.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: tuple[dict[str, Any], ...] = ()
        self._fetched_at = self._asked_at = -float("inf")
        self._lock = threading.Lock()

    def find(self, kid: str | None, algorithm: str) -> "PyJWK":
        """
        Args:
            kid: the key's id as the token names it; may be left out where there is one key alone.
            algorithm: as the token names it, for a key that does not say its own.

        Raises:
            jwt.PyJWTError: there is no such key.
            UnavailableError: the keys were never fetched, and cannot be now.
        """
        import jwt

        data = self._fresh(kid)
        if data is None:
            with self._lock:
                data = self._fresh(kid)
                if data is None and self._clock() >= self._asked_at + _FLOOR:
                    self._fetch()
                data = data or self._known(kid)
        if not self._keys:
            raise UnavailableError(
                "Tokens cannot be checked now: their issuer's keys cannot be fetched. Try again soon; the server's log "
                "has the reason."
            )
        if data is None:
            raise jwt.InvalidKeyError(f"its issuer has no key '{kid}'")
        key = jwt.PyJWK(data, data.get("alg") or algorithm)
        if algorithm not in _ALGORITHMS or key.algorithm_name != algorithm:
            raise jwt.InvalidAlgorithmError(f"its algorithm {algorithm} is not one for its key")
        return key

    def _fresh(self, kid: str | None) -> dict[str, Any] | None:
        return self._known(kid) if self._clock() < self._fetched_at + _MAX_AGE else None

    def _known(self, kid: str | None) -> dict[str, Any] | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == kid), None)

    def _fetch(self) -> None:
        """Ask the issuer. Where it does not answer, the keys that are known go on to hold."""
        self._asked_at = self._clock()
        try:
            # A proxy of the environment is for the world outside.
            outside = urlsplit(self._url).hostname not in LOOPBACK
            response = httpx.get(self._url, timeout=_TIMEOUT, trust_env=outside)
            response.raise_for_status()
            keys = response.json()["keys"]
            self._keys = tuple(key for key in keys if key.get("use", "sig") == "sig")
            self._fetched_at = self._clock()
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("The keys of the tokens' issuer cannot be fetched from %s: %s", self._url, error)
