"""Keys: made, told once, found, refused when they no longer count; and who is asked for one."""

import re
import time

import pytest

from luthier.domain.key import ANYONE, Scope, digest_of, hint_of
from luthier.errors import AuthenticationError, InvalidRequestError, NotFoundError
from luthier.services.access import AccessService
from luthier.services.keys import DEFAULT_SCOPES, KeyService
from luthier.storage.db import Database
from luthier.storage.keys import KeyStore


@pytest.fixture
def keys(settings):
    database = Database.open(settings)
    yield KeyService(KeyStore(database))
    database.close()


def test_a_key_is_found_by_its_secret_and_the_secret_kept_nowhere(keys, settings):
    key, secret = keys.create("laptop", requests_per_minute=3)
    assert re.fullmatch(r"sk-[A-Za-z0-9]{43}", secret)
    assert (key.digest, key.hint, key.scopes) == (digest_of(secret), f"sk-…{secret[-4:]}", DEFAULT_SCOPES)
    who = keys.identify(secret)
    assert (who.id, who.name, who.scopes, who.requests_per_minute) == (key.id, "laptop", set(DEFAULT_SCOPES), 3)
    files = [path for path in settings.home.rglob("*") if path.is_file()]
    assert files
    assert not any(secret[3:].encode() in path.read_bytes() for path in files)


def test_two_keys_differ(keys):
    secrets = {keys.create(f"key {i}")[1] for i in range(5)}
    assert len(secrets) == 5


@pytest.mark.parametrize("wrong", ["sk-nothing", "", "é", "sk-" + "a" * 43])
def test_an_unknown_key_is_refused_without_being_repeated(keys, wrong):
    keys.create("laptop")
    with pytest.raises(AuthenticationError, match="Incorrect API key provided: ") as refused:
        keys.identify(wrong)
    assert refused.value.code == "invalid_api_key"
    assert len(wrong) < 5 or wrong not in refused.value.message


def test_a_revoked_key_is_refused_and_its_name_free_again(keys):
    key, secret = keys.create("laptop")
    with pytest.raises(InvalidRequestError, match="There is a key named 'laptop'"):
        keys.create("laptop")
    assert keys.revoke("laptop").id == key.id
    with pytest.raises(AuthenticationError, match="revoked"):
        keys.identify(secret)
    with pytest.raises(NotFoundError, match="luthier keys list"):
        keys.revoke("laptop")
    again, _ = keys.create("laptop")
    assert keys.revoke(again.id).revoked_at is not None
    assert [key.name for key in keys.list()] == ["laptop", "laptop"]


def test_an_expired_key_is_refused_with_the_time(keys, monkeypatch):
    _, secret = keys.create("laptop", expires_at=int(time.time()) + 60)
    assert keys.any_valid()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(AuthenticationError, match=r"expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC"):
        keys.identify(secret)
    assert keys.any()
    assert not keys.any_valid()


@pytest.mark.parametrize(
    ("name", "more", "param"),
    [
        (" ", {}, "name"),
        ("x" * 200, {}, "name"),
        ("a\nb", {}, "name"),
        ("a", {"scopes": ()}, "scopes"),
        ("a", {"expires_at": 5}, "expires"),
        ("a", {"requests_per_minute": 0}, "requests_per_minute"),
        ("a", {"tokens_per_minute": 2**63}, "tokens_per_minute"),
    ],
)
def test_what_makes_no_key(keys, name, more, param):
    with pytest.raises(InvalidRequestError) as refused:
        keys.create(name, **more)
    assert refused.value.param == param
    assert not keys.any()


def test_admin_may_everything_and_the_others_only_their_own(keys):
    admin = keys.identify(keys.create("a", [Scope.ADMIN])[1])
    infer = keys.identify(keys.create("b", [Scope.INFER])[1])
    assert admin.may(Scope.TRAIN)
    assert infer.may(Scope.TRAIN, Scope.INFER)
    assert not infer.may(Scope.READ)


def test_hints_show_four_letters_of_what_is_long_enough():
    assert hint_of("sk-" + "x" * 20 + "abcd") == "sk-…abcd"
    assert hint_of("sk-short") == "sk-…"
    assert hint_of("eyJhbGciOiJSUzI1NiJ9") == "…NiJ9"


def test_nobody_is_asked_until_there_is_a_key_and_then_everybody_for_good(keys, settings):
    access = AccessService(settings, keys, None)
    assert access.identify(None) is ANYONE
    assert access.identify("sk-any") is ANYONE
    _, secret = keys.create("laptop")
    with pytest.raises(AuthenticationError, match="You didn't provide an API key"):
        access.identify(None)
    assert access.identify(secret).name == "laptop"
    keys.revoke("laptop")
    with pytest.raises(AuthenticationError):
        AccessService(settings, keys, None).identify("sk-any")


def test_the_setting_decides_where_it_is_set(keys, settings):
    with pytest.raises(AuthenticationError):
        AccessService(settings.model_copy(update={"require_key": True}), keys, None).identify(None)
    keys.create("laptop")
    assert AccessService(settings.model_copy(update={"require_key": False}), keys, None).identify(None) is ANYONE
