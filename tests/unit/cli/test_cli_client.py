"""The HTTP client: URLs, streams, and errors in words."""

import httpx
import pytest

from luthier import errors
from luthier.cli.client import Client, ConnectionBrokenError, base_url


def client_of(handler) -> Client:
    return Client("http://127.0.0.1:8080/v1", "sk-1", transport=httpx.MockTransport(handler))


@pytest.mark.parametrize(
    ("given", "variables", "expected"),
    [
        (None, {}, "http://127.0.0.1:8080/v1"),
        (None, {"OPENAI_API_BASE": "http://one:1/v1/"}, "http://one:1/v1"),
        (None, {"OPENAI_API_BASE": "http://one:1/v1", "OPENAI_BASE_URL": "http://two:2/v1"}, "http://two:2/v1"),
        ("http://three:3", {"OPENAI_BASE_URL": "http://two:2/v1"}, "http://three:3/v1"),
        ("https://four/openai/v1", {}, "https://four/openai/v1"),
    ],
)
def test_url_comes_from_option_then_environment_then_default(given, variables, expected, monkeypatch):
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert base_url(given) == expected


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "ftp://x/v1", "http://", "http://[::1", "http://x:abc"])
def test_url_that_is_none_is_refused(text):
    with pytest.raises(errors.InvalidRequestError, match="is no URL"):
        base_url(text)


def test_ids_are_quoted_whole_and_the_key_is_sent():
    seen = []

    def answer(request):
        seen.append((request.url.raw_path, request.headers["authorization"]))
        return httpx.Response(200, json={})

    client_of(answer).get("models", "hf:owner/name")
    assert seen == [(b"/v1/models/hf%3Aowner%2Fname", "Bearer sk-1")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, errors.InvalidRequestError), (404, errors.NotFoundError), (413, errors.PayloadTooLargeError)],
)
def test_errors_keep_the_servers_words(status, kind):
    body = {"error": {"message": "n_epochs is odd", "param": "n_epochs", "code": "odd"}}
    with pytest.raises(kind, match="n_epochs is odd") as caught:
        client_of(lambda _: httpx.Response(status, json=body)).post("fine-tunes", body={})
    assert (caught.value.param, caught.value.code) == ("n_epochs", "odd")


def test_an_error_without_our_shape_is_told_with_its_start():
    with pytest.raises(errors.LuthierError, match="status 502: Bad gateway"):
        client_of(lambda _: httpx.Response(502, text="Bad\ngateway")).get("files")


def test_an_answer_that_is_no_json_asks_whether_the_url_is_right():
    with pytest.raises(errors.LuthierError, match="ending in /v1"):
        client_of(lambda _: httpx.Response(200, text="<html>")).get("files")


def test_no_server_says_how_to_start_one():
    def refuse(_):
        raise httpx.ConnectError("refused")

    with pytest.raises(errors.UnavailableError, match="luthier serve"):
        client_of(refuse).get("files")


def test_stream_ends_at_done_and_skips_heartbeats():
    content = b': hello\n\ndata: {"n": 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\ndata: {"n": 3}\n\n'
    client = client_of(lambda _: httpx.Response(200, content=content))
    assert list(client.stream("GET", "x")) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("content", [b'data: {"n": 1}\n\n', b'data: {"n": 1}\n\ndata: {"n"'])
def test_stream_without_its_end_is_broken(content):
    client = client_of(lambda _: httpx.Response(200, content=content))
    events = client.stream("GET", "x")
    assert next(events) == {"n": 1}
    with pytest.raises(ConnectionBrokenError):
        next(events)


def test_error_within_a_stream_is_raised():
    content = b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n'
    with pytest.raises(errors.LuthierError, match="out of memory"):
        list(client_of(lambda _: httpx.Response(200, content=content)).stream("GET", "x"))


def test_a_server_that_stops_within_a_stream_is_worth_another_try():
    content = b'data: {"error": {"message": "The server stops.", "type": "service_unavailable_error"}}\n\n'
    with pytest.raises(errors.UnavailableError, match="The server stops"):
        list(client_of(lambda _: httpx.Response(200, content=content)).stream("GET", "x"))


@pytest.mark.parametrize("key", ["sk-é", "sk-a\n", "sk-a\x00"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key):
    with pytest.raises(errors.InvalidRequestError, match="The key has characters that no key has") as refused:
        Client("http://127.0.0.1:9/v1", key)
    assert "sk-" not in refused.value.message
