"""A server that asks for keys, as the three clients meet it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from contract_helpers import OldClient, Server, jsonl, rows, serve

from luthier.config import Settings
from luthier.domain.key import Scope
from luthier.server.unoffered import REASONS
from luthier.services.keys import DEFAULT_SCOPES, KeyService
from luthier.storage.db import Database
from luthier.storage.keys import KeyStore
from luthier.testing import make_byte_vocabulary

MakeKey = Callable[..., str]


@pytest.fixture(scope="module")
def settings_of_keys(tiny_base: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("keyed")
    folders = {"ada": tiny_base, "text-embedding-ada-002": tiny_encoder}
    lines = [f'{name} = "{folder.as_posix()}"\n' for name, folder in folders.items()]
    (home / "aliases.toml").write_text("[aliases]\n" + "".join(lines), encoding="utf-8")
    make_byte_vocabulary(home / "models")
    return Settings(home=home, models=home / "models", require_key=True)


@pytest.fixture(scope="module")
def keyed(settings_of_keys: Settings) -> Iterator[Server]:
    with serve(settings_of_keys) as running:
        yield running


@pytest.fixture(scope="module")
def key_service(settings_of_keys: Settings) -> Iterator[KeyService]:
    """The keys as `luthier keys` reaches them: in the database, past the running server."""
    database = Database.open(settings_of_keys)
    yield KeyService(KeyStore(database))
    database.close()


@pytest.fixture(scope="module")
def make_key(key_service: KeyService) -> MakeKey:
    def make(*scopes: Scope, **limits: Any) -> str:
        return key_service.create(f"key {time.monotonic_ns()}", scopes or DEFAULT_SCOPES, **limits)[1]

    return make


def today(server: Server, key: str, max_retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=key, max_retries=max_retries, timeout=60)


def old(old_python: Path, server: Server, folder: Path, key: str) -> Callable[[str], str]:
    """Python lines of the old client with this key."""
    client = OldClient(old_python, server.url, folder)
    return lambda lines: client.run(f"import time\nopenai.api_key = {key!r}\n{lines}").strip()


def complete(client: openai.OpenAI, **more: Any) -> Any:
    return client.completions.create(model="ada", prompt="abc", **{"max_tokens": 2, **more})


def test_today_without_a_right_key(keyed: Server) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        today(keyed, "sk-nobody-made-this-key").models.list()
    assert refused.value.status_code == 401
    assert refused.value.code == "invalid_api_key"
    assert refused.value.type == "invalid_request_error"
    assert "Incorrect API key provided: sk-…-key." in refused.value.message


def test_http_without_any_key(keyed: Server) -> None:
    answer = keyed.call("POST", "completions", json={"model": "ada"})
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You didn't provide an API key.")
    assert keyed.call("GET", keyed.url.removesuffix("/v1") + "/health").status_code == 200


def test_old_without_a_right_key(keyed: Server, old_python: Path, tmp_path: Path) -> None:
    told = old(old_python, keyed, tmp_path, "sk-nobody-made-this-key")(
        "try: openai.Model.list()\n"
        "except openai.error.AuthenticationError as error:\n"
        "    print(error.http_status, error.json_body['error']['code'], error)"
    )
    assert told.startswith("401 invalid_api_key")
    assert "Incorrect API key provided: sk-…-key." in told


@pytest.mark.contract("POST /v1/completions", ("header Authorization", "header api-key"), "honoured")
def test_all_three_with_a_key(keyed: Server, make_key: MakeKey, old_python: Path, tmp_path: Path) -> None:
    key = make_key()
    assert complete(today(keyed, key)).choices
    uploaded = today(keyed, key).files.create(file=("train.jsonl", jsonl(rows(4))), purpose="fine-tune")
    assert uploaded.status == "processed"
    body = {"model": "ada", "prompt": "abc", "max_tokens": 1}
    for headers in ({"Authorization": f"Bearer {key}"}, {"api-key": key}):
        assert keyed.call("POST", "completions", json=body, headers=headers).status_code == 200
    run = old(old_python, keyed, tmp_path, key)
    assert run("print(openai.Completion.create(model='ada', prompt='a', max_tokens=1).object)") == "text_completion"


def test_azures_clients_send_the_key_their_own_way(keyed: Server, make_key: MakeKey) -> None:
    """`api-key`, and a bearer token: what the path is does not matter to the key."""
    endpoint, key = keyed.url.removesuffix("/v1"), make_key(Scope.READ)
    for given in ({"api_key": key}, {"azure_ad_token": key}):
        client = openai.AzureOpenAI(azure_endpoint=endpoint, api_version="2024-10-21", max_retries=0, **given)
        with pytest.raises(openai.APIStatusError) as refused:
            client.images.generate(prompt="a cat", model="dall-e-3")
        assert (refused.value.status_code, refused.value.code) == (404, "not_offered")
    with pytest.raises(openai.AuthenticationError):
        openai.AzureOpenAI(azure_endpoint=endpoint, api_version="2024-10-21", api_key="sk-else").models.list()


@pytest.mark.parametrize("api_type", ["azure", "azure_ad"])
def test_azures_old_client_with_a_key(
    keyed: Server, make_key: MakeKey, old_python: Path, tmp_path: Path, api_type: str
) -> None:
    """Whoever may not deploy may still ask what is deployed."""
    azure = OldClient(
        old_python,
        keyed.url.removesuffix("/v1"),
        tmp_path,
        {"OPENAI_API_TYPE": api_type, "OPENAI_API_VERSION": "2022-12-01"},
    )
    told = azure.run(
        f"openai.api_key = {make_key()!r}\n"
        "made = openai.Deployment.create(model='ada', scale_settings={'scale_type': 'standard'})\n"
        f"openai.api_key = {make_key(Scope.READ, Scope.INFER)!r}\n"
        "print(openai.Completion.create(deployment_id=made['id'], prompt='a', max_tokens=1).object)\n"
        "print([one['status'] for one in openai.Deployment.list().data if one['id'] == made['id']])\n"
        "try: openai.Deployment.delete(sid=made['id'])\n"
        "except openai.error.PermissionError as error: error = error.json_body['error']; print(error['code'], *error)\n"
        "openai.api_key = 'sk-else'\n"
        "try: openai.File.list()\n"
        "except openai.error.AuthenticationError as error: print(error.json_body['error']['code'])"
    )
    answered, states, forbidden, unknown = told.splitlines()
    assert (answered, states, unknown) == ("text_completion", "['succeeded']", "invalid_api_key")
    assert forbidden == "missing_scope message type param code target"


def test_scopes_are_held(keyed: Server, make_key: MakeKey, old_python: Path, tmp_path: Path) -> None:
    reader, inferrer = make_key(Scope.READ), make_key(Scope.INFER)
    assert today(keyed, reader).files.list().data is not None
    with pytest.raises(openai.PermissionDeniedError, match="Missing scopes: infer") as refused:
        complete(today(keyed, reader))
    assert (refused.value.status_code, refused.value.code) == (403, "missing_scope")
    assert complete(today(keyed, inferrer)).choices
    with pytest.raises(openai.PermissionDeniedError, match="Missing scopes: train"):
        today(keyed, inferrer).fine_tuning.jobs.create(model="ada", training_file="file-x")
    told = old(old_python, keyed, tmp_path, inferrer)(
        "try: openai.FineTune.list()\nexcept openai.error.PermissionError as error: print(error.http_status, error)"
    )
    assert told.startswith("403")
    assert "You have insufficient permissions for this operation. Missing scopes: read." in told


def test_a_revoked_key_ends_at_once(keyed: Server, key_service: KeyService) -> None:
    made, secret = key_service.create("for a moment")
    client = today(keyed, secret)
    assert client.models.list().data
    key_service.revoke(made.id)
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        client.models.list()


def test_the_limits_headers(keyed: Server, make_key: MakeKey) -> None:
    client = today(keyed, make_key(requests_per_minute=10, tokens_per_minute=60_000))
    answer = client.completions.with_raw_response.create(model="ada", prompt="abc", max_tokens=400, stop=["a"])
    used = answer.parse().usage
    assert used is not None
    headers = answer.headers
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] in ("9", "10")  # 10 when the answer took longer than 6 s
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-ratelimit-limit-tokens"] == "60000"
    assert 60_000 - used.total_tokens <= int(headers["x-ratelimit-remaining-tokens"]) <= 60_000
    plain = today(keyed, make_key()).models.with_raw_response.list()
    assert not [name for name in plain.headers if name.startswith("x-ratelimit")]


def test_a_stream_is_charged_what_it_used(keyed: Server, make_key: MakeKey) -> None:
    client = today(keyed, make_key(tokens_per_minute=900))
    towards_a = {str(ord("a")): 100}  # the tiny base's tokens are bytes: its next one is `a`, which ends the completion
    for _ in range(4):  # by the estimates alone, the third would not be let in
        assert list(complete(client, max_tokens=400, stop="a", stream=True, logit_bias=towards_a))


def test_embeddings_are_charged_what_they_used(keyed: Server, make_key: MakeKey) -> None:
    client = today(keyed, make_key(tokens_per_minute=1000))
    texts = ["a text of thirty characters, ok"] * 20  # a token is a byte here: four times the estimate
    answer = client.embeddings.with_raw_response.create(model="text-embedding-ada-002", input=texts)
    used = answer.parse().usage.total_tokens
    assert used == 20 * len(texts[0])
    assert 1000 - used <= int(answer.headers["x-ratelimit-remaining-tokens"]) < 1000 - used // 2


def test_counting_tokens_takes_none(keyed: Server, make_key: MakeKey) -> None:
    key = make_key(tokens_per_minute=1000)
    body = {"model": "ada", "input": "a word " * 300}
    answer = keyed.call("POST", "tokenize", json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-remaining-tokens"] == "1000"


def test_todays_client_comes_back_when_it_was_told(keyed: Server, make_key: MakeKey) -> None:
    client = today(keyed, make_key(requests_per_minute=20), max_retries=2)
    impatient = client.with_options(max_retries=0)

    def hurry() -> None:
        for _ in range(500):
            impatient.models.list()

    with pytest.raises(openai.RateLimitError, match="Rate limit reached for key") as refused:
        hurry()
    assert (refused.value.type, refused.value.code) == ("requests", "rate_limit_exceeded")
    headers = refused.value.response.headers
    assert 0 < int(headers["retry-after-ms"]) <= 3000
    assert 1 <= int(headers["retry-after"]) <= 3
    began = time.monotonic()
    assert client.models.list().data  # it waits as long as it was told, and is let in
    assert time.monotonic() - began > 0.1


def test_the_old_client_can_come_back_when_it_was_told(
    keyed: Server, make_key: MakeKey, old_python: Path, tmp_path: Path
) -> None:
    lines = (
        "answers, refusals = 0, 0\n"
        "while refusals < 2:\n"
        "    try:\n"
        "        openai.Model.list(); answers += 1\n"
        "    except openai.error.RateLimitError as error:\n"
        "        assert error.http_status == 429\n"
        "        assert 'Rate limit reached for key' in str(error), error\n"
        "        refusals += 1; time.sleep(float(error.headers['Retry-After']))\n"
        "        openai.Model.list()\n"
        "print(answers)"
    )
    run = old(old_python, keyed, tmp_path, make_key(requests_per_minute=20))
    assert int(run(lines)) >= 20


def test_a_request_that_never_fits_is_not_tried_again(keyed: Server, make_key: MakeKey) -> None:
    client = today(keyed, make_key(tokens_per_minute=50), max_retries=5)
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError, match="Request too large for key") as refused:
        complete(client, max_tokens=100)
    assert refused.value.type == "tokens"
    assert time.monotonic() - began < 3


def _not_offered(endpoint: str, call: Callable[[openai.OpenAI], Any]) -> Any:
    first, second = (*endpoint.split("/")[2:], "")[:2]
    how = REASONS.get(f"{first}/{second}") or REASONS[first]
    return pytest.param(call, marks=pytest.mark.contract(endpoint, "", "refused", how=f"404. {how}"), id=endpoint)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "call",
    [
        _not_offered("POST /v1/moderations", lambda client: client.moderations.create(input="a")),
        _not_offered(
            "POST /v1/audio/speech", lambda client: client.audio.speech.create(input="a", model="tts-1", voice="alloy")
        ),
        _not_offered("POST /v1/images/generations", lambda client: client.images.generate(prompt="a")),
        _not_offered("POST /v1/responses", lambda client: client.responses.create(input="a", model="ada")),
        _not_offered(
            "POST /v1/uploads",
            lambda client: client.uploads.create(bytes=1, filename="a", mime_type="text/plain", purpose="fine-tune"),
        ),
        _not_offered("GET /v1/assistants", lambda client: client.beta.assistants.list()),
        _not_offered(
            "GET /v1/fine_tuning/checkpoints/{model}/permissions",
            lambda client: client.fine_tuning.checkpoints.permissions.list("ada"),
        ),
        _not_offered("POST /v1/threads", lambda client: client.beta.threads.create()),
    ],
)
def test_todays_client_hears_what_is_not_offered(client: openai.OpenAI, call: Callable[[openai.OpenAI], Any]) -> None:
    with pytest.raises(openai.NotFoundError, match="Luthier does not offer") as refused:
        call(client)
    assert refused.value.code == "not_offered"


def test_the_old_client_hears_what_is_not_offered(old_client: OldClient) -> None:
    for call in (
        "Moderation.create(input='a')",
        "Image.create(prompt='a')",
        "Edit.create(model='ada', instruction='a')",
    ):
        told = old_client.run(
            f"try: openai.{call}\nexcept openai.error.InvalidRequestError as error: print(error.http_status, error)"
        )
        assert told.startswith("404"), call
        assert "Luthier does not offer " in told, call
