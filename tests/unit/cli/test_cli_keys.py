"""`luthier keys`, and what `luthier serve` makes of them."""

import json
import re
import time

import pytest

from luthier.cli import serve
from luthier.cli.keys import key_service
from luthier.errors import ConfigError, InvalidRequestError, NotFoundError


@pytest.fixture(autouse=True)
def home(settings, monkeypatch):
    monkeypatch.setenv("LUTHIER_HOME", str(settings.home))
    return settings.home


def test_the_key_alone_is_on_standard_output(luthier):
    made = luthier("keys", "create", "laptop")
    secret = made.stdout.strip()
    assert re.fullmatch(r"sk-\w{43}", secret)
    assert "laptop" in made.stderr
    assert "not shown again" in made.stderr
    with key_service() as keys:
        assert keys.identify(secret).name == "laptop"
    assert secret not in luthier("keys", "list").stdout


def test_everything_about_a_key_is_listed(luthier):
    assert "There is no key" in luthier("keys", "list").stdout
    words = (
        "--scopes",
        "infer, read",
        "--expires",
        "90d",
        "--requests-per-minute",
        "60",
        "--tokens-per-minute",
        "9000",
    )
    secret = luthier("keys", "create", "a job", *words).stdout.strip()
    (key,) = json.loads(luthier("keys", "list", "--json").stdout)
    assert (key["name"], key["scopes"], key["hint"]) == ("a job", ["read", "infer"], f"sk-…{secret[-4:]}")
    assert (key["requests_per_minute"], key["tokens_per_minute"], key["status"]) == (60, 9000, "valid")
    assert key["expires_at"] - key["created_at"] == pytest.approx(90 * 86400, abs=5)
    table = luthier("keys", "list").stdout
    for word in ("a job", secret[-4:], "read, infer", "60 requests, 9,000 tokens", "valid"):
        assert word in table


def test_revoked_and_expired_keys_say_so(luthier, monkeypatch):
    luthier("keys", "create", "one")
    luthier("keys", "create", "two", "--expires", "30m")
    assert "Revoked 'one'" in luthier("keys", "revoke", "one").stdout
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert [key["status"] for key in json.loads(luthier("keys", "list", "--json").stdout)] == ["revoked", "expired"]
    assert isinstance(luthier("keys", "revoke", "one").exception, NotFoundError)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--scopes", "read,write"), "'write' is no scope. There are read, infer, train, admin."),
        (("--expires", "soon"), "'soon' is no time"),
        (("--expires", "2001-01-01"), "cannot expire before"),
    ],
)
def test_what_cannot_be_made(luthier, words, told):
    made = luthier("keys", "create", "laptop", *words)
    assert isinstance(made.exception, InvalidRequestError)
    assert told in str(made.exception)


def test_a_day_is_a_time_too(luthier):
    luthier("keys", "create", "laptop", "--expires", "2101-02-03")
    (key,) = json.loads(luthier("keys", "list", "--json").stdout)
    assert time.gmtime(key["expires_at"])[:4] == (2101, 2, 3, 0)


@pytest.fixture
def started(monkeypatch):
    """The settings of servers that would have started."""
    found = []
    monkeypatch.setattr(serve, "_run", lambda *given: found.append(given[2]))
    return found


def test_serve_beyond_this_machine_needs_a_key(luthier, started):
    refused = luthier("serve", "--host", "0.0.0.0", "--port", "0").exception
    assert isinstance(refused, ConfigError)
    for word in ("nobody has a key", "`luthier keys create NAME`", "ssh -L"):
        assert word in str(refused)
    assert started == []
    luthier("keys", "create", "laptop")
    assert luthier("serve", "--host", "0.0.0.0", "--port", "0").exception is None
    assert [settings.require_key for settings in started] == [True]
    luthier("keys", "revoke", "laptop")
    assert isinstance(luthier("serve", "--host", "0.0.0.0", "--port", "0").exception, ConfigError)


def test_serve_without_keys_where_told_so(luthier, started, monkeypatch):
    luthier("serve", "--port", "0")
    luthier("serve", "--port", "0", "--require-key")
    luthier("serve", "--host", "0.0.0.0", "--port", "0", "--insecure-no-keys")
    assert [settings.require_key for settings in started] == [None, True, False]
    both = luthier("serve", "--require-key", "--insecure-no-keys")
    assert "contradict" in str(both.exception)
    monkeypatch.setenv("LUTHIER_REQUIRE_KEY", "false")
    luthier("keys", "create", "laptop")
    assert "LUTHIER_REQUIRE_KEY=false" in str(luthier("serve", "--host", "0.0.0.0", "--port", "0").exception)


def test_settings_that_are_lists(monkeypatch):
    from luthier.config import load_settings

    monkeypatch.setenv("LUTHIER_CORS_ORIGINS", "https://a.example, http://localhost:3000")
    monkeypatch.setenv("LUTHIER_OIDC_SCOPES", "Models.Use=infer, https://api/Tune=train")
    settings = load_settings()
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.oidc_scopes == ("Models.Use=infer", "https://api/Tune=train")
