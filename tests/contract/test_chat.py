"""Chat completions, field by field, by today's client."""

import json
import logging
import time
from typing import Any

import httpx
import openai
import pytest
from chat_helpers import HI, NO_END, PATH, PLAIN, ask, chunks, refused, text
from contract_helpers import Server, jsonl, rows


@pytest.mark.contract(PATH, ("", "model", "messages", "messages[].role", "messages[].content"), "honoured")
def test_an_answer(client: openai.OpenAI) -> None:
    answer = ask(client)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", PLAIN)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.refusal, choice.finish_reason) == ("assistant", None, "length")
    assert choice.logprobs is None
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len("[user]Hi.[assistant]"), 8)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    raw = client.completions.create(model=PLAIN, prompt="[user]Hi<|end|>[assistant]", max_tokens=8, temperature=0)
    assert choice.message.content == raw.choices[0].text


@pytest.mark.contract(
    PATH,
    ("messages[].content[].type", "messages[].content[].text"),
    "different",
    how="Parts of type `text` alone, which are joined by line breaks; others are refused.",
)
def test_roles_and_parts(client: openai.OpenAI) -> None:
    system = {"role": "system", "content": "Be brief."}
    assert text(client, [system, *HI]) != text(client)
    assert text(client, [{**system, "role": "developer"}, *HI]) == text(client, [system, *HI])
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    said = [{"role": "user", "content": "one\ntwo"}, {"role": "assistant", "content": "Yes."}, *HI]
    assert text(client, [{"role": "user", "content": parts}, *said[1:]]) == text(client, said)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]
    refused(client, "messages", "type 'image_url'", picture)


@pytest.mark.contract(PATH, "messages[].name", "different", how="Refused where the chat template has no place for it.")
@pytest.mark.contract(
    PATH,
    ("messages[].refusal", "messages[].annotations", "messages[].audio", "messages[].function_call"),
    "different",
    how="May be null, as in an answer that is sent back.",
)
def test_messages_that_have_no_place(client: openai.OpenAI) -> None:
    refused(client, "messages.0.name", "no place for an author's name", [{**HI[0], "name": "Ann"}])
    refused(client, "messages.0.refusal", "must be null", [{"role": "assistant", "content": "a", "refusal": "No."}])
    refused(client, "messages.0.audio", "must be null", [{"role": "assistant", "content": "a", "audio": {"id": "a"}}])
    answer = ask(client).choices[0].message
    assert text(client, [*HI, answer, *HI]) == text(client, [*HI, answer.model_dump(), *HI])


@pytest.mark.contract(PATH, ("max_completion_tokens", "max_tokens"), "honoured")
def test_most_tokens(client: openai.OpenAI) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        answer = ask(client, **{"max_completion_tokens": openai.omit, name: 3})
        assert answer.usage
        assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (3, "length")
        refused(client, name, "less than the minimum of 1", **{"max_completion_tokens": None, name: 0})
    usage = ask(client, max_completion_tokens=openai.omit).usage
    assert usage
    assert usage.total_tokens == 512
    refused(client, "max_tokens", "at the same time", max_tokens=1)


def test_too_long(client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "x" * 600}]
    sentence = r"maximum context length is 512 tokens. However, your messages resulted in 618 tokens"
    refused(client, "messages", sentence, long, max_completion_tokens=None)
    refused(client, "messages", r"requested 520 tokens \(20 in the messages, 500 in", max_completion_tokens=500)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, long)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.contract(PATH, ("temperature", "top_p", "seed", "n"), "honoured")
def test_sampling(client: openai.OpenAI) -> None:
    def sampled(**fields: Any) -> list[str | None]:
        answer = ask(client, **{"temperature": 1, "seed": 5, "n": 2, **fields})
        assert [choice.index for choice in answer.choices] == [0, 1]
        return [choice.message.content for choice in answer.choices]

    assert sampled() == sampled()
    assert len({*sampled(), *sampled(seed=6)}) == 4
    assert sampled(top_p=0) == sampled(temperature=0) == [text(client)] * 2
    refused(client, "temperature", "greater than the maximum of 2", temperature=3)


@pytest.mark.contract(PATH, ("presence_penalty", "frequency_penalty", "logit_bias", "stop"), "honoured")
def test_penalties_bias_and_stops(client: openai.OpenAI) -> None:
    loud = {**NO_END, "97": 100}
    assert text(client, logit_bias=loud) == "aaaaaaaa"
    for name in ("presence_penalty", "frequency_penalty"):
        assert text(client, max_completion_tokens=60, **{name: 2}) != text(client, max_completion_tokens=60)
    answer = ask(client, logit_bias=loud, stop=["aaa"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "stop")
    ended = ask(client, logit_bias={"256": 100})
    assert (ended.choices[0].message.content, ended.choices[0].finish_reason) == ("", "stop")
    refused(client, "logit_bias", "Keys are token ids", logit_bias={"a": 1})


@pytest.mark.contract(PATH, ("logprobs", "top_logprobs"), "honoured")
def test_log_probabilities(client: openai.OpenAI) -> None:
    def logprobs(**fields: Any) -> Any:
        found = ask(client, logprobs=True, **fields).choices[0].logprobs
        assert found
        assert found.content is not None
        return found.content

    content = logprobs(top_logprobs=20)
    assert bytes(byte for token in content for byte in token.bytes).decode(errors="replace") == text(client)
    for token in content:
        values = [top.logprob for top in token.top_logprobs]
        assert len(values) == 20
        assert values == sorted(values, reverse=True)
        assert (token.token, token.logprob, token.bytes) in [(t.token, t.logprob, t.bytes) for t in token.top_logprobs]
    assert [token.top_logprobs for token in logprobs()] == [[]] * 8
    assert logprobs(logit_bias={"256": 100}) == []
    forced = logprobs(logit_bias={**NO_END, "97": 100}, top_logprobs=1)
    assert all(token.token == "a" and len(token.top_logprobs) == 1 for token in forced)
    assert any(token.top_logprobs[0].token != "a" for token in forced)
    refused(client, "top_logprobs", "goes with 'logprobs'", top_logprobs=2)
    refused(client, "top_logprobs", "greater than the maximum of 20", logprobs=True, top_logprobs=21)


@pytest.mark.contract(PATH, ("stream", "stream_options", "stream_options.include_usage"), "honoured")
def test_streams(client: openai.OpenAI) -> None:
    parts = chunks(client, n=2, logprobs=True, stream_options={"include_usage": True})
    assert {(part.object, part.model) for part in parts} == {("chat.completion.chunk", PLAIN)}
    assert len({part.id for part in parts}) == 1
    *told, usage = parts
    assert usage.choices == []
    assert usage.usage
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (20, 16)
    assert {part.usage for part in told} == {None}
    for index in range(2):
        own = [part.choices[0] for part in told if part.choices[0].index == index]
        assert (own[0].delta.role, own[0].delta.content) == ("assistant", "")
        assert "".join(choice.delta.content or "" for choice in own) == text(client)
        assert [choice.finish_reason for choice in own] == [None] * (len(own) - 1) + ["length"]
        assert own[-1].delta.model_dump(exclude_unset=True) == {}
        assert sum(len(choice.logprobs.content or []) for choice in own if choice.logprobs) == 8
    assert all(part.usage is None for part in chunks(client))
    refused(client, "stream_options", "go with 'stream'", stream_options={})


def test_a_stream_on_the_wire(server: Server) -> None:
    body = {"model": PLAIN, "messages": HI, "max_tokens": 2, "stream": True, "logit_bias": NO_END}
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=60, trust_env=False) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    first = json.loads(lines[0].removeprefix("data: "))
    assert first["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
    ]


@pytest.mark.contract(
    PATH, "stream_options.include_obfuscation", "different", how="May be false: chunks are never padded."
)
@pytest.mark.contract(PATH, "modalities", "different", how="`text` is all that there is.")
@pytest.mark.contract(PATH, "store", "different", how="May be false: chats are not kept.")
def test_what_may_say_no(client: openai.OpenAI) -> None:
    assert chunks(client, stream_options={"include_obfuscation": False})
    assert text(client, modalities=["text"], store=False) == text(client)
    refused(client, "store", "must be false, not true", store=True)
    refused(client, "modalities.0", "must be 'text'", modalities=["audio"])
    refused(
        client, "stream_options.include_obfuscation", "false", stream=True, stream_options={"include_obfuscation": True}
    )


@pytest.mark.contract(PATH, "user", "different", how="Written to the server's log, and used for nothing else.")
def test_user(client: openai.OpenAI, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="luthier.server"):
        ask(client, user="ann")
    assert "A chat for user 'ann'" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("metadata", {"a": "b"}), ("reasoning_effort", "low"), ("service_tier", "auto"), ("prediction", {})),
        *(("audio", {}), ("web_search_options", {}), ("verbosity", "low"), ("prompt_cache_key", "a")),
        ("safety_identifier", "a"),
    ],
)
def test_fields_that_are_not_here(client: openai.OpenAI, name: str, value: Any) -> None:
    refused(client, name, f"Unrecognized request argument supplied: {name}", **{name: value})


def test_the_older_form_of_tools(client: openai.OpenAI) -> None:
    refused(client, "functions", "Send 'tools' instead", functions=[{"name": "a"}])
    refused(client, "function_call", "Send 'tool_choice' instead", function_call="auto")


def test_a_base_that_does_not_chat(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="This is not a chat model and thus not supported") as caught:
        ask(client, model="ada")
    assert caught.value.param == "model"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        ask(client, model="nobody")


@pytest.fixture(scope="module")
def tuned(client: openai.OpenAI, wait: Any) -> str:
    train = client.files.create(file=("train.jsonl", jsonl(rows(8))), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(training_file=train.id, model=PLAIN, hyperparameters={"n_epochs": 2})
    model: str = wait(job.id).fine_tuned_model
    return model


def test_tuned_models_chat(client: openai.OpenAI, tuned: str) -> None:
    answer = ask(client, model=tuned)
    assert answer.model == tuned
    raw = client.completions.create(
        model=tuned,
        prompt="[user]Hi<|end|>[assistant]",
        max_tokens=8,
        temperature=0,
        logit_bias=NO_END,  # type: ignore[arg-type]
    )
    assert answer.choices[0].message.content == raw.choices[0].text


async def _ask_async(url: str) -> tuple[str | None, str]:
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-test", max_retries=0) as client:
        fields: Any = {"model": PLAIN, "messages": HI, "max_tokens": 8, "temperature": 0, "logit_bias": NO_END}
        whole = await client.chat.completions.create(**fields)
        streamed = [part async for part in await client.chat.completions.create(stream=True, **fields)]
        return whole.choices[0].message.content, "".join(part.choices[0].delta.content or "" for part in streamed)


def test_the_asynchronous_client(server: Server, client: openai.OpenAI) -> None:
    import asyncio

    assert asyncio.run(_ask_async(server.url)) == (text(client), text(client))


def test_the_stream_helper(client: openai.OpenAI) -> None:
    yes = {"type": "json_schema", "json_schema": {"name": "yes", "schema": {"const": "yes"}}}
    fields: Any = {"model": PLAIN, "messages": HI, "response_format": yes}
    with client.chat.completions.stream(**fields) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.content == '"yes"'
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)


AZURE = "POST /openai/deployments/{deployment}/chat/completions"


@pytest.mark.contract(AZURE, "", "honoured")
@pytest.mark.contract(AZURE, "*", "honoured", how="As `POST /v1/chat/completions`.")
@pytest.mark.contract(
    AZURE,
    "model",
    "different",
    how="May be left out; a model that is neither the deployment, nor its model, nor that model's base is refused.",
)
def test_azures_client(server: Server, client: openai.OpenAI) -> None:
    fields: Any = {"model": PLAIN, "messages": HI, "max_tokens": 8, "temperature": 0, "logit_bias": NO_END}
    endpoint = server.url.removesuffix("/v1")
    with openai.AzureOpenAI(azure_endpoint=endpoint, api_key="sk-test", api_version="2024-10-21") as azure:
        assert azure.chat.completions.create(**fields).choices == ask(client).choices
        parts = azure.chat.completions.create(stream=True, **fields)
        assert "".join(part.choices[0].delta.content or "" for part in parts) == text(client)
        with pytest.raises(openai.NotFoundError, match="not a chat model"):
            azure.chat.completions.create(**{**fields, "model": "ada"})


def test_chats_in_a_batch(client: openai.OpenAI) -> None:
    body = {"model": PLAIN, "messages": HI, "max_tokens": 8, "temperature": 0, "logit_bias": NO_END}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = client.files.create(file=("chats.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    deadline = time.monotonic() + 60
    while batch.status not in ("completed", "failed"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id, batch
    (answer,) = client.files.content(batch.output_file_id).text.splitlines()
    assert json.loads(answer)["response"]["body"]["choices"][0]["message"]["content"] == text(client)
