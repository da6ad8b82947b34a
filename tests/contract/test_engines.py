"""Engines by the old client and by plain HTTP, and models as it reads them."""

import json
from typing import Any

import openai
import pytest
from contract_helpers import OldClient, Server

PROMPT = "bat and pitcher"
ASK = {"max_tokens": 8, "temperature": 0, "logit_bias": {"256": -100}}


@pytest.mark.contract("GET /v1/engines", "", "honoured")
@pytest.mark.contract("GET /v1/engines/{engine}", "", "honoured")
@pytest.mark.contract(
    "POST /v1/engines/{engine}",
    ("", "replicas"),
    "different",
    how="There is one replica: 1 is taken, others refused.",
)
def test_engines_are_the_models(old_client: OldClient, client: openai.OpenAI, server: Server) -> None:
    printed = json.loads(
        old_client.run(
            "engines = openai.Engine.list()\n"
            "one = openai.Engine.retrieve('ada')\n"
            "same = openai.Engine.modify('ada', replicas=1)\n"
            "print(json.dumps([engines, one, same]))"
        )
    )
    engines, one, same = printed
    assert engines["object"] == "list"
    assert {engine["id"] for engine in engines["data"]} >= {"ada", "babbage"}
    assert {engine["id"] for engine in engines["data"]} <= {model.id for model in client.models.list()}
    assert (one["id"], one["object"], one["owner"], one["ready"]) == ("ada", "engine", "luthier", True)
    assert one == same == next(engine for engine in engines["data"] if engine["id"] == "ada")
    refused = old_client("api", "engines.update", "-i", "ada", "-r", "3", fails=True)
    assert "this server runs each engine once" in refused
    assert server.call("GET", "engines/nobody").status_code == 404
    assert server.call("POST", "engines/nobody", json={}).status_code == 404


@pytest.mark.contract("POST /v1/engines/{engine}/completions", "", "honoured")
@pytest.mark.contract("POST /v1/engines/{engine}/completions", "*", "honoured", how="As `POST /v1/completions`.")
@pytest.mark.contract(
    "POST /v1/engines/{engine}/completions", "model", "different", how="May be left out; must be the engine."
)
def test_completions_of_an_engine(old_client: OldClient, client: openai.OpenAI, server: Server) -> None:
    (choice,) = client.completions.create(model="ada", prompt=PROMPT, **ASK).choices
    printed = old_client.run(
        f"answer = openai.Completion.create(engine='ada', prompt={PROMPT!r}, **{ASK})\n"
        f"stream = openai.Completion.create(engine='ada', prompt={PROMPT!r}, stream=True, **{ASK})\n"
        "print(json.dumps([answer.choices[0].text, ''.join(part.choices[0].text for part in stream), answer.model]))"
    )
    assert json.loads(printed) == [choice.text, choice.text, "ada"]
    both = server.call("POST", "engines/ada/completions", json={"model": "ada", "prompt": PROMPT, **ASK})
    assert both.json()["choices"][0]["text"] == choice.text
    other = server.call("POST", "engines/ada/completions", json={"model": "babbage", "prompt": PROMPT})
    assert (other.status_code, other.json()["error"]["param"]) == (400, "model")


@pytest.mark.contract("POST /v1/engines/{engine}/generate", "", "honoured")
@pytest.mark.contract(
    "POST /v1/engines/{engine}/generate",
    ("context", "length", "temperature", "top_p", "completions", "logprobs", "stop", "stream"),
    "honoured",
)
@pytest.mark.contract(
    "POST /v1/engines/{engine}/generate", "model", "different", how="May be left out; must be the engine."
)
def test_generating(old_client: OldClient, client: openai.OpenAI, server: Server) -> None:
    def text(**fields: Any) -> str:
        fields = {"prompt": PROMPT, **fields}
        return client.completions.create(model="ada", temperature=0, **fields).choices[0].text

    words = ["api", "engines.generate", "-i", "ada", "-c", PROMPT, "-t", "0"]
    assert old_client(*words, "-l", "8") == PROMPT + text(max_tokens=8)
    assert old_client(*words, "-l", "8", "--stream", "-m", "ada") == PROMPT + text(max_tokens=8)
    assert old_client(*words) == PROMPT + text()
    context, whole = next((one, made) for one in "abcdefghijkl" if any(map(str.isascii, made := text(prompt=one))))
    stop = next(filter(str.isascii, whole))
    body = {"context": context, "temperature": 0, "stop": stop}
    stopped = server.call("POST", "engines/ada/generate", json=body).json()["data"][0]["text"]
    assert "".join(stopped) == context + whole.partition(stop)[0]
    several = old_client(*words, "-n", "2", "-l", "4", "-p", "0.5")
    assert several.count("===== Completion") == 2

    answer = server.call(
        "POST", "engines/ada/generate", json={"context": PROMPT, "length": 4, "temperature": 0, "logprobs": 2}
    ).json()
    (one,) = answer["data"]
    known = client.completions.create(model="ada", prompt=PROMPT, max_tokens=4, temperature=0, logprobs=2).choices[0]
    assert isinstance(one["text"], list)
    assert "".join(one["text"]) == PROMPT + known.text
    assert known.logprobs is not None
    assert one["logprobs"] == known.logprobs.model_dump()
    assert one["finish_reason"] == known.finish_reason
    nothing = server.call("POST", "engines/ada/generate", json={"length": 2}).json()
    assert nothing["data"][0]["text"][0] == ""


@pytest.mark.parametrize(
    ("body", "param"),
    [({"length": -1}, "length"), ({"completions": 0}, "completions"), ({"model": "babbage"}, "model"), ({"n": 1}, "n")],
)
def test_a_generation_is_refused_in_its_own_words(server: Server, body: dict[str, object], param: str) -> None:
    refused = server.call("POST", "engines/ada/generate", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.contract("GET /v1/models", "", "honoured")
@pytest.mark.contract("GET /v1/models/{model}", "", "honoured")
def test_models_have_permissions_owner_root_and_parent(old_client: OldClient) -> None:
    printed = old_client.run("print(json.dumps([openai.Model.list()['data'][0], openai.Model.retrieve('ada')]))")
    for model in json.loads(printed):
        (permission,) = model["permission"]
        assert permission["object"] == "model_permission"
        assert permission["id"].startswith("modelperm-")
        assert permission["organization"] == "*"
        assert permission["allow_sampling"] is permission["allow_view"] is True
        assert (model["object"], model["owned_by"], model["root"], model["parent"]) == (
            "model",
            "luthier",
            model["id"],
            None,
        )
