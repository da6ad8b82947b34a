"""Bearer tokens of an issuer, whose keys lie on a server of this machine."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from luthier.domain.key import Scope
from luthier.errors import AuthenticationError, ConfigError, UnavailableError
from luthier.services.limits import Limiter, LimitReachedError
from luthier.services.oidc import KeySet, TokenVerifier

ISSUER = "https://login.example.com/tenant"
AUDIENCE = "api://luthier"


@pytest.fixture(scope="module")
def rsa_keys():
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


class Issuer:
    """Publishes keys, and counts how often it is asked."""

    def __init__(self, url):
        self.url = url
        self.keys = []
        self.asked = 0
        self.status = 200

    def publish(self, kid, private, **more):
        made = json.loads(RSAAlgorithm.to_jwk(private.public_key())) | {"kid": kid, "use": "sig", "alg": "RS256"} | more
        self.keys.append({name: value for name, value in made.items() if value is not None})


@contextmanager
def running(issuer_of):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            issuer.asked += 1
            body = json.dumps({"keys": issuer.keys}).encode()
            self.send_response(issuer.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = issuer_of(f"http://127.0.0.1:{server.server_port}/keys")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield issuer
        server.shutdown()
        thread.join()


@pytest.fixture
def issuer(rsa_keys):
    with running(Issuer) as made:
        made.publish("first", rsa_keys[0])
        yield made


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def verifier(issuer, clock):
    keys = KeySet(issuer.url, clock=clock)
    return TokenVerifier(ISSUER, AUDIENCE, keys, "scp", {"Models.Tune": Scope.TRAIN})


def token(private, kid="first", algorithm="RS256", **changes):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 300, "nbf": now - 5, "scp": "read infer"}
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, private, algorithm, headers={} if kid is None else {"kid": kid})


def test_a_token_is_a_caller(verifier, issuer, rsa_keys):
    who = verifier.identify(token(rsa_keys[0]))
    assert (who.id, who.name, who.scopes) == ("oidc:ann", "ann", {Scope.READ, Scope.INFER})
    assert verifier.identify(token(rsa_keys[0], scp=["Models.Tune", "else", 3])).scopes == {Scope.TRAIN}
    assert verifier.identify(token(rsa_keys[0], scp=None)).scopes == set()
    assert verifier.identify(token(rsa_keys[0], kid=None)).name == "ann"
    assert verifier.identify(token(rsa_keys[0], aud=["other", AUDIENCE])).name == "ann"
    assert issuer.asked == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "https://else.example.com"}, "issuer"),
        ({"aud": "api://else"}, "udience"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 3600}, "not yet valid"),
        ({"exp": None}, '"exp"'),
        ({"iss": None}, '"iss"'),
        ({"aud": None}, '"aud"'),
        ({"sub": None}, '"sub"'),
    ],
)
def test_a_claim_that_does_not_hold(verifier, rsa_keys, changes, words):
    with pytest.raises(AuthenticationError, match=words) as refused:
        verifier.identify(token(rsa_keys[0], **changes))
    assert refused.value.message.startswith("The bearer token is not valid here")
    assert refused.value.code == "invalid_token"


def test_a_signature_by_another_key(verifier, rsa_keys):
    with pytest.raises(AuthenticationError, match="Signature verification failed"):
        verifier.identify(token(rsa_keys[1]))


def test_a_changed_token(verifier, rsa_keys):
    head, _, signature = token(rsa_keys[0]).split(".")
    _, claims, _ = token(rsa_keys[0], scp="admin").split(".")
    with pytest.raises(AuthenticationError):
        verifier.identify(f"{head}.{claims}.{signature}")


@pytest.mark.parametrize("nonsense", ["a.b.c", "..", "eyJhbGciOiJub25lIn0.e30."])
def test_no_token_at_all(verifier, nonsense):
    with pytest.raises(AuthenticationError):
        verifier.identify(nonsense)


def test_signatures_without_a_private_key_are_refused(verifier, issuer):
    unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann"}, None, "none", headers={"kid": "first"})
    with pytest.raises(AuthenticationError, match="algorithm none"):
        verifier.identify(unsigned)
    issuer.keys.append({"kty": "oct", "kid": "shared", "k": "c2VjcmV0" * 8, "alg": "HS256"})
    for kid in ("first", "shared"):
        shared = token(b"secret" * 8, kid=kid, algorithm="HS256")
        with pytest.raises(AuthenticationError):
            verifier.identify(shared)


def test_other_kinds_of_keys(verifier, issuer, rsa_keys):
    private = ec.generate_private_key(ec.SECP256R1())
    issuer.keys.append(json.loads(ECAlgorithm.to_jwk(private.public_key())) | {"kid": "curve"})
    issuer.publish("bare", rsa_keys[1], alg=None, use=None)
    assert verifier.identify(token(private, "curve", "ES256")).name == "ann"
    assert verifier.identify(token(rsa_keys[1], "bare", "PS512")).name == "ann"
    with pytest.raises(AuthenticationError):
        verifier.identify(token(rsa_keys[1], "first", "RS512"))


def test_an_unknown_key_is_asked_for_but_not_too_often(verifier, issuer, clock, rsa_keys):
    verifier.identify(token(rsa_keys[0]))
    issuer.publish("second", rsa_keys[1])
    for _ in range(5):
        with pytest.raises(AuthenticationError, match="no key 'second'"):
            verifier.identify(token(rsa_keys[1], "second"))
    assert issuer.asked == 1
    clock.now += 31
    assert verifier.identify(token(rsa_keys[1], "second")).name == "ann"
    assert verifier.identify(token(rsa_keys[0])).name == "ann"
    assert issuer.asked == 2


def test_a_key_that_the_issuer_withdrew_ends_within_the_hour(verifier, issuer, clock, rsa_keys):
    verifier.identify(token(rsa_keys[0]))
    issuer.keys.clear()
    issuer.publish("second", rsa_keys[1])
    assert verifier.identify(token(rsa_keys[0])).name == "ann"
    clock.now += 3601
    with pytest.raises(AuthenticationError, match="no key 'first'"):
        verifier.identify(token(rsa_keys[0]))


def test_an_issuer_that_is_away(verifier, issuer, clock, rsa_keys):
    issuer.status = 500
    for _ in range(3):
        with pytest.raises(UnavailableError, match="cannot be checked now"):
            verifier.identify(token(rsa_keys[0]))
    assert issuer.asked == 1
    issuer.status = 200
    clock.now += 31
    assert verifier.identify(token(rsa_keys[0])).name == "ann"
    issuer.status = 500
    clock.now += 4000
    assert verifier.identify(token(rsa_keys[0])).name == "ann"


def test_each_subject_has_the_limits_of_the_settings(issuer, clock, rsa_keys):
    verifier = TokenVerifier(
        ISSUER, AUDIENCE, KeySet(issuer.url, clock=clock), "scp", {}, requests_per_minute=1, tokens_per_minute=50
    )
    ann, bob = (verifier.identify(token(rsa_keys[0], sub=name)) for name in ("ann", "bob"))
    assert (ann.requests_per_minute, ann.tokens_per_minute) == (1, 50)
    limiter = Limiter(clock)
    limiter.of(ann).admit()
    limiter.of(bob).admit()  # by a bucket of their own
    with pytest.raises(LimitReachedError, match="key 'ann' on requests per min"):
        limiter.of(verifier.identify(token(rsa_keys[0], exp=int(time.time()) + 900))).admit()  # by a new token


def test_without_limits_a_subject_has_none(verifier, rsa_keys):
    assert Limiter().of(verifier.identify(token(rsa_keys[0]))) is None


def _settings(settings, **changes):
    given = {
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_jwks_url": "https://login.example.com/keys",
        "oidc_scopes": ("Models.Tune=train",),
    }
    return settings.model_copy(update=given | changes)


def test_settings(settings):
    assert TokenVerifier.of(settings) is None
    verifier = TokenVerifier.of(_settings(settings))
    assert verifier is not None
    assert verifier._granted("Models.Tune infer") == {Scope.TRAIN, Scope.INFER}
    with pytest.raises(ConfigError, match="LUTHIER_OIDC_AUDIENCE"):
        TokenVerifier.of(_settings(settings, oidc_audience=None))
    with pytest.raises(ConfigError, match="must be an https URL"):
        TokenVerifier.of(_settings(settings, oidc_jwks_url="http://login.example.com/keys"))
    with pytest.raises(ConfigError, match="LUTHIER_OIDC_TOKENS_PER_MINUTE is for tokens of an issuer, and none is"):
        TokenVerifier.of(settings.model_copy(update={"oidc_tokens_per_minute": 5}))
    limited = TokenVerifier.of(_settings(settings, oidc_requests_per_minute=5, oidc_tokens_per_minute=6))
    assert limited is not None
    assert limited._limits == (5, 6)
    for pair in ("Models.Tune=tune", "train", "=train"):
        with pytest.raises(ConfigError, match=f"LUTHIER_OIDC_SCOPES holds '{pair}'"):
            TokenVerifier.of(_settings(settings, oidc_scopes=(pair,)))
