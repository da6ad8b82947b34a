"""Tokens: ours, so plain HTTP alone."""

import openai
import pytest
from contract_helpers import Server


@pytest.mark.contract("POST /v1/tokenize", ("", "model", "input"), "different", how="Ours alone.")
@pytest.mark.contract("POST /v1/detokenize", ("", "model", "token_ids"), "different", how="Ours alone.")
def test_there_and_back(server: Server, client: openai.OpenAI) -> None:
    texts = [" hockey", "é!", ""]
    answer = server.call("POST", "tokenize", json={"model": "ada", "input": texts}).json()
    assert (answer["object"], answer["model"], answer["start_token_ids"]) == ("list", "ada", [])
    assert [item["count"] for item in answer["data"]] == [7, 3, 0]
    assert answer["data"][0]["token_ids"] == list(b" hockey")
    assert answer["data"][0]["tokens"] == list(" hockey")
    assert answer["data"][1]["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", "!"]
    lists = [item["token_ids"] for item in answer["data"]]
    back = server.call("POST", "detokenize", json={"model": "ada", "token_ids": lists}).json()
    assert back == answer
    one = server.call("POST", "tokenize", json={"model": "ada", "input": " hockey"}).json()
    assert one["data"] == answer["data"][:1]
    assert server.call("POST", "detokenize", json={"model": "ada", "token_ids": lists[0]}).json() == one
    biased = client.completions.create(
        model="ada", prompt="x", max_tokens=5, temperature=0, logit_bias={str(one["data"][0]["token_ids"][1]): 100}
    )
    assert biased.choices[0].text == "hhhhh"
    usage = client.completions.create(model="ada", prompt=" hockey", max_tokens=1).usage
    assert usage is not None
    assert usage.prompt_tokens == one["data"][0]["count"]


def test_embedding_models_count_as_openai_does(server: Server, client: openai.OpenAI) -> None:
    model = "text-embedding-ada-002"
    answer = server.call("POST", "tokenize", json={"model": model, "input": ["hé"]}).json()
    assert (answer["tokenizer"], answer["start_token_ids"]) == ("cl100k_base", [])
    (item,) = answer["data"]
    assert item["count"] == client.embeddings.create(model=model, input="hé").usage.prompt_tokens
    assert server.call("POST", "detokenize", json={"model": model, "token_ids": item["token_ids"]}).json() == answer
    for body in ({"model": "text-similarity-ada-001", "input": "a"}, {"model": "ada-similarity", "input": "a"}):
        refused = server.call("POST", "tokenize", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
        assert "GPT-2" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("tokenize", {"model": "ada"}, 400, "input"),
        ("tokenize", {"model": "ada", "input": 5}, 400, "input"),
        ("tokenize", {"model": "ada", "input": ["a"] * 2049}, 400, "input"),
        ("tokenize", {"model": "nobody", "input": "a"}, 404, "model"),
        ("tokenize", {"model": "ada", "input": "a", "text": "b"}, 400, "text"),
        ("detokenize", {"model": "ada", "token_ids": [1, 9999]}, 400, "token_ids"),
        ("detokenize", {"model": "ada", "token_ids": [-1]}, 400, "token_ids"),
        ("detokenize", {"model": "text-embedding-ada-002", "token_ids": [100270]}, 400, "token_ids"),
        ("detokenize", {"model": "ada", "token_ids": "a"}, 400, "token_ids"),
        ("detokenize", {"model": "ada", "token_ids": [["a"]]}, 400, "token_ids.0.0"),
    ],
)
def test_what_is_refused(server: Server, path: str, body: dict[str, object], status: int, param: str) -> None:
    refused = server.call("POST", path, json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
