"""Embeddings by today's client, by the old one and by plain HTTP. A token is a byte here; the encoder reads 32."""

import base64
import json
import math
import struct
from typing import Any

import httpx
import openai
import pytest
from contract_helpers import OldClient, Server

ENDPOINT = "POST /v1/embeddings"
MODEL = "text-embedding-ada-002"
SIZES = ("ada", "babbage", "curie", "davinci")
FIRST_GENERATION = [
    *(f"text-similarity-{size}-001" for size in SIZES),
    *(f"text-search-{size}-{side}-001" for size in SIZES for side in ("doc", "query")),
    *(f"code-search-{size}-{side}-001" for size in SIZES[:2] for side in ("code", "text")),
]
SHORT_NAMES = ["ada-similarity", "babbage-similarity", "curie-search-query", "davinci-search-document"]


def post(server: Server, **body: Any) -> httpx.Response:
    return server.call("POST", "embeddings", json={"model": MODEL, **body})


def vectors(server: Server, **body: Any) -> list[list[float]]:
    answer = post(server, **body)
    assert answer.status_code == 200, answer.text
    return [item["embedding"] for item in answer.json()["data"]]


def refusal(server: Server, param: str, **body: Any) -> str:
    answer = post(server, **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    return str(error["message"])


def ids(text: str) -> list[int]:
    return list(text.encode())


@pytest.mark.contract(ENDPOINT, "", "honoured")
@pytest.mark.contract(ENDPOINT, "model", "honoured")
@pytest.mark.contract(ENDPOINT, "input", "honoured")
def test_todays_client(client: openai.OpenAI) -> None:
    texts = [
        "The food was delicious",
        "b",
        "The food was delicious",
        "and a longer one that the encoder reads in parts",
    ]
    answer = client.embeddings.create(model=MODEL, input=texts)  # it asks for base64 by itself
    assert (answer.object, answer.model) == ("list", MODEL)
    assert [(item.object, item.index) for item in answer.data] == [("embedding", at) for at in range(4)]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, texts))
    assert all(math.hypot(*item.embedding) == pytest.approx(1, abs=1e-6) for item in answer.data)
    assert answer.data[0].embedding == pytest.approx(answer.data[2].embedding, abs=1e-6)
    assert answer.data[0].embedding != pytest.approx(answer.data[1].embedding, abs=1e-2)
    one = client.embeddings.create(model=MODEL, input=texts[3], encoding_format="float")
    assert one.data[0].embedding == pytest.approx(answer.data[3].embedding, abs=2e-2)


@pytest.mark.contract(ENDPOINT, "input", "honoured")
def test_texts_token_ids_and_lists_of_either_mean_the_same(server: Server) -> None:
    (text,) = vectors(server, input="naïve")
    for same in (["naïve"], ids("naïve"), [ids("naïve")]):
        assert vectors(server, input=same)[0] == pytest.approx(text, abs=1e-6)
    assert len(vectors(server, input=[ids("a"), ids("bc")])) == 2


@pytest.mark.contract(ENDPOINT, "encoding_format", "honoured")
def test_base64_is_little_endian_float32(server: Server) -> None:
    (floats,) = vectors(server, input="a", encoding_format="float")
    (coded,) = vectors(server, input="a", encoding_format="base64")
    assert list(struct.unpack(f"<{len(floats)}f", base64.b64decode(coded))) == pytest.approx(floats, abs=1e-7)
    assert "encoding_format" in refusal(server, "encoding_format", input="a", encoding_format="hex")


@pytest.mark.contract(ENDPOINT, "dimensions", "honoured")
def test_dimensions_cut_and_bring_to_length_1_again(server: Server) -> None:
    (whole,) = vectors(server, input="a")
    (cut,) = vectors(server, input="a", dimensions=5)
    length = math.hypot(*whole[:5])
    assert cut == pytest.approx([number / length for number in whole[:5]], abs=1e-6)
    assert vectors(server, input="a", dimensions=32)[0] == pytest.approx(whole, abs=1e-6)
    for wrong in (0, 33):
        assert "have 32 numbers" in refusal(server, "dimensions", input="a", dimensions=wrong)


@pytest.mark.contract(ENDPOINT, "user", "different", how="It is written to the server's log and used for nothing else.")
def test_user_is_taken(server: Server) -> None:
    assert len(vectors(server, input="a", user="somebody")) == 1


@pytest.mark.contract(ENDPOINT, "input", "honoured")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("", "It is an empty string."),
        ([], "It is an empty list."),
        (["a", ""], "Input 1 is an empty string."),
        ([[1], []], "Input 1 is an empty list of token ids."),
        (["a"] * 2049, "It has 2049 inputs; at most 2048"),
    ],
)
def test_empty_and_too_many_inputs_get_openais_words(server: Server, wrong: Any, words: str) -> None:
    message = refusal(server, "input", input=wrong)
    assert message.startswith(
        "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
    )
    assert words in message


def test_2048_inputs_are_taken(server: Server) -> None:
    assert len(vectors(server, input=["ab"] * 2048, dimensions=1)) == 2048


@pytest.mark.parametrize("wrong", [1, {"a": 1}, [1, "a"], [["a"]], [True], [1.5], [[1], "a"]])
def test_inputs_of_another_kind_are_refused(server: Server, wrong: Any) -> None:
    assert "must be a string, an array of strings" in refusal(server, "input", input=wrong)


@pytest.mark.parametrize("wrong", [-1, 256, 100_256, 100_261, 10**12])
def test_ids_that_are_no_tokens_are_refused(server: Server, wrong: int) -> None:
    message = refusal(server, "input", input=[[97], [97, wrong]])
    assert f"Token 1 of input 1 is {wrong}, which is no token of cl100k_base" in message


@pytest.mark.parametrize(("model", "limit"), [(MODEL, 8191), ("text-similarity-davinci-001", 2046)])
def test_inputs_up_to_the_limit_are_taken(server: Server, model: str, limit: int) -> None:
    assert len(vectors(server, model=model, input="a" * limit)) == 1
    assert refusal(server, "input", model=model, input=["a", "a" * (limit + 1)]) == (
        f"This model's maximum context length is {limit} tokens, however you requested {limit + 1} tokens "
        f"({limit + 1} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
    )


def test_an_endless_word_is_refused_at_once(server: Server) -> None:
    assert "maximum context length" in refusal(server, "input", input="a" * 250_000)


def test_a_long_input_is_the_average_of_its_pieces_by_tokens(server: Server) -> None:
    text = "x" * 30 + "y" * 15  # the encoder reads 30 bytes at once
    whole, first, second = vectors(server, input=[text, "x" * 30, "y" * 15])
    mean = [(30 * a + 15 * b) / 45 for a, b in zip(first, second, strict=True)]
    length = math.hypot(*mean)
    assert whole == pytest.approx([number / length for number in mean], abs=2e-2)


@pytest.mark.parametrize("name", FIRST_GENERATION + SHORT_NAMES)
def test_names_of_the_first_generation(server: Server, name: str) -> None:
    answer = post(server, model=name, input="a")
    assert (answer.status_code, answer.json()["model"]) == (200, name)
    message = refusal(server, "input", model=name, input=[97])
    assert f"The model '{name}' does not take token ids" in message


def test_a_search_keeps_queries_and_documents_apart(server: Server) -> None:
    def of(model: str, text: str = "a b") -> list[float]:
        return vectors(server, model=model, input=text)[0]

    plain = of(MODEL)
    assert of("text-similarity-ada-001") == pytest.approx(plain, abs=1e-6)
    assert of("text-search-ada-doc-001") == pytest.approx(of(MODEL, "document: a b"), abs=1e-6)
    assert of("code-search-ada-code-001") == pytest.approx(of(MODEL, "document: a b"), abs=1e-6)
    assert of("text-search-ada-query-001") == pytest.approx(of(MODEL, "query: a b"), abs=1e-6)
    assert of("code-search-ada-text-001") == pytest.approx(of(MODEL, "query: a b"), abs=1e-6)


def test_the_first_generations_text_models_replace_newlines(server: Server) -> None:
    for name, replaces in (("text-similarity-ada-001", True), ("code-search-ada-code-001", False), (MODEL, False)):
        broken, spaced = vectors(server, model=name, input=["a\nb", "a b"])
        assert (broken == pytest.approx(spaced, abs=1e-6)) == replaces


def test_models_of_the_other_kind_are_refused(server: Server) -> None:
    assert "completes texts and makes no embeddings" in refusal(server, "model", model="ada", input="a")
    answer = server.call("POST", "completions", json={"model": MODEL, "prompt": "a"})
    assert answer.status_code == 400
    assert "makes embeddings and completes no texts" in answer.json()["error"]["message"]
    assert post(server, model="text-embedding-ada-003", input="a").status_code == 404


def test_the_list_of_models_says_what_it_makes(client: openai.OpenAI) -> None:
    details: Any = (client.models.retrieve("text-search-ada-doc-001").model_extra or {})["details"]
    assert (details["kind"], details["dimensions"], details["context_length"]) == ("embedding", 32, 32)
    assert details["max_input_tokens"] == 2046
    assert "embedded in pieces, whose average" in details["note"]
    completes: Any = (client.models.retrieve("ada").model_extra or {})["details"]
    assert (completes["kind"], completes["dimensions"]) == ("completion", None)


@pytest.mark.contract(ENDPOINT, "", "honoured")
def test_the_old_client(old_client: OldClient) -> None:
    out = old_client.run(
        "answer = openai.Embedding.create(input=['a', 'b'], model='text-embedding-ada-002')\n"
        "print(json.dumps([answer['usage'], [item['embedding'] for item in answer['data']]]))"
    )
    usage, embedded = json.loads(out)
    assert usage == {"prompt_tokens": 2, "total_tokens": 2}
    assert [len(vector) for vector in embedded] == [32, 32]


ENGINE = "POST /v1/engines/{engine}/embeddings"


@pytest.mark.contract(ENGINE, "", "honoured")
@pytest.mark.contract(ENGINE, "input", "honoured")
@pytest.mark.contract(ENGINE, "encoding_format", "honoured")
def test_the_old_client_by_engine(old_client: OldClient, server: Server) -> None:
    out = old_client.run(
        "answer = openai.Embedding.create(input='a b', engine='text-search-ada-query-001')\n"
        "print(json.dumps([answer['model'], answer['data'][0]['embedding']]))"
    )
    model, embedding = json.loads(out)
    assert model == "text-search-ada-query-001"
    assert embedding == pytest.approx(vectors(server, input="a b", model=model)[0], abs=1e-6)


@pytest.mark.contract(ENGINE, "dimensions", "honoured")
@pytest.mark.contract(ENGINE, "model", "honoured")
@pytest.mark.contract(ENGINE, "user", "different", how="It is written to the server's log and used for nothing else.")
def test_an_engine_takes_the_same_fields(server: Server) -> None:
    body = {"input": "a", "model": MODEL, "dimensions": 3, "user": "somebody"}
    answer = server.call("POST", f"engines/{MODEL}/embeddings", json=body)
    assert len(answer.json()["data"][0]["embedding"]) == 3
    answer = server.call("POST", f"engines/{MODEL}/embeddings", json=body | {"model": "ada"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


def test_many_callers_at_once(server: Server) -> None:
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda at: vectors(server, input=f"text {at % 4}")[0], range(64)))
    for at, vector in enumerate(answers):
        assert vector == pytest.approx(answers[at % 4], abs=2e-2)
