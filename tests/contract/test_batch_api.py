"""Batches by today's client and by plain HTTP."""

import json
import time
from typing import Any

import openai
import pytest
from contract_helpers import Server

PATH = "/v1/completions"
NO_END = {"256": -100}


def line(name: str, **body: Any) -> dict[str, Any]:
    fields = {"model": "ada", "prompt": name, "max_tokens": 2, "temperature": 0, "logit_bias": NO_END, **body}
    return {"custom_id": name, "method": "POST", "url": PATH, "body": fields}


def upload(client: openai.OpenAI, *lines: dict[str, Any]) -> str:
    content = "".join(json.dumps(one) + "\n" for one in lines).encode()
    return client.files.create(file=("requests.jsonl", content), purpose="batch").id


def create(client: openai.OpenAI, *lines: dict[str, Any], **fields: Any) -> openai.types.Batch:
    file_id = upload(client, *lines)
    return client.batches.create(input_file_id=file_id, endpoint=PATH, completion_window="24h", **fields)


def until_over(client: openai.OpenAI, batch: openai.types.Batch) -> openai.types.Batch:
    deadline = time.monotonic() + 120
    while (now := client.batches.retrieve(batch.id)).status not in ("completed", "failed", "cancelled", "expired"):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def rows(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    lines = client.files.content(file_id).text.splitlines()
    return {row["custom_id"]: row for row in map(json.loads, lines)}


@pytest.mark.contract("POST /v1/batches", "", "honoured")
@pytest.mark.contract("POST /v1/batches", "input_file_id", "honoured")
@pytest.mark.contract(
    "POST /v1/batches", "endpoint", "different", how="Those that this server has: others are refused."
)
@pytest.mark.contract("POST /v1/batches", "completion_window", "honoured")
@pytest.mark.contract("POST /v1/batches", "metadata", "honoured")
@pytest.mark.contract("GET /v1/batches/{batch_id}", "", "honoured")
def test_completions_come_back_as_if_asked_one_by_one(client: openai.OpenAI) -> None:
    lines = [line(f"review {n}") for n in range(20)]
    lines += [line("wrong", temperature=9), line("unknown", colour="red"), line("several", prompt=["a", "b"])]
    made = create(client, *lines, metadata={"for": "reviews"})
    assert made.id.startswith("batch_")
    assert (made.object, made.status, made.metadata) == ("batch", "validating", {"for": "reviews"})
    done = until_over(client, made)
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {"completed": 21, "failed": 2, "total": 23}
    assert (done.model, done.errors) == ("ada", None)
    assert done.in_progress_at
    assert done.finalizing_at
    assert done.completed_at
    answers = rows(client, done.output_file_id)
    assert len(answers) == 21
    one = answers["review 3"]
    body = openai.types.Completion.model_validate(one["response"]["body"])
    alone = client.completions.create(**line("review 3")["body"])
    assert (one["error"], one["response"]["status_code"]) == (None, 200)
    assert (body.choices, body.usage, body.object) == (alone.choices, alone.usage, alone.object)
    assert len(answers["several"]["response"]["body"]["choices"]) == 2
    assert done.usage is not None
    usages = [row["response"]["body"]["usage"] for row in answers.values()]
    assert done.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
    assert done.usage.total_tokens == sum(usage["total_tokens"] for usage in usages)
    refused = rows(client, done.error_file_id)
    assert refused["wrong"]["response"]["status_code"] == 400
    assert refused["wrong"]["response"]["body"]["error"]["param"] == "temperature"
    assert "colour" in refused["unknown"]["response"]["body"]["error"]["message"]
    file = client.files.retrieve(done.output_file_id or "")
    assert (file.purpose, file.status) == ("batch_output", "processed")
    assert file.id in [item.id for item in client.files.list(purpose="batch_output")]


def test_a_file_with_wrong_lines_fails_its_batch(client: openai.OpenAI) -> None:
    stream = line("c")
    stream["body"]["stream"] = True
    file_id = upload(client, line("a"), line("a"), line("b", model="nobody"), stream)
    assert client.files.retrieve(file_id).status == "error"
    made = client.batches.create(input_file_id=file_id, endpoint=PATH, completion_window="24h")
    failed = until_over(client, made)
    assert failed.status == "failed"
    assert failed.failed_at
    assert failed.errors is not None
    assert failed.errors.object == "list"
    told = [(error.line, error.code, error.param) for error in failed.errors.data or []]
    assert told == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "model_not_found", "body.model"),
        (4, "invalid_value", "body.stream"),
    ]


def test_embeddings_in_a_batch(client: openai.OpenAI) -> None:
    model = "text-embedding-ada-002"
    texts = [f"review {n} was delicious" for n in range(12)]
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/embeddings", "body": {"model": model, "input": text}}
        for n, text in enumerate(texts)
    ]
    lines.append({**lines[0], "custom_id": "wide", "body": {"model": model, "input": "a", "dimensions": 100_000}})
    file_id = upload(client, *lines)
    made = client.batches.create(input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h")
    done = until_over(client, made)
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (12, 1)
    known = client.embeddings.create(model=model, input=texts, encoding_format="float")
    answers = rows(client, done.output_file_id)
    for n, item in enumerate(known.data):
        answer = openai.types.CreateEmbeddingResponse.model_validate(answers[str(n)]["response"]["body"])
        assert answer.data[0].embedding == pytest.approx(item.embedding, abs=1e-6)
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens) == (known.usage.prompt_tokens, 0)
    assert rows(client, done.error_file_id)["wide"]["response"]["body"]["error"]["param"] == "dimensions"


@pytest.mark.contract("GET /v1/batches", "", "honoured")
@pytest.mark.contract("GET /v1/batches", "after", "honoured")
@pytest.mark.contract("GET /v1/batches", "limit", "honoured")
def test_batches_by_pages_newest_first(client: openai.OpenAI, server: Server) -> None:
    made = [create(client, line("a")).id for _ in range(3)]
    assert [batch.id for batch in client.batches.list(limit=1)][:3] == made[::-1]
    page = server.call("GET", f"batches?limit=1&after={made[2]}").json()
    assert (page["object"], page["has_more"], page["first_id"], page["last_id"]) == ("list", True, made[1], made[1])
    with pytest.raises(openai.BadRequestError, match="names no batch"):
        client.batches.list(after="batch_none")


@pytest.mark.contract("POST /v1/batches/{batch_id}/cancel", "", "honoured")
def test_cancelling(client: openai.OpenAI) -> None:
    made = create(client, *(line(f"r{n}", max_tokens=400, n=20) for n in range(200)))
    cancelled = client.batches.cancel(made.id)
    assert cancelled.status == "cancelling"
    begun = time.monotonic()
    done = until_over(client, made)
    assert time.monotonic() - begun < 20
    assert done.status == "cancelled"
    assert done.cancelled_at
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'cancelled'"):
        client.batches.cancel(made.id)


@pytest.mark.contract("POST /v1/batches/{batch_id}/resume", "", "honoured", how="Ours: OpenAI's API has no such path.")
def test_resuming(client: openai.OpenAI) -> None:
    made = create(client, *(line(f"r{n}", max_tokens=100) for n in range(200)))
    deadline = time.monotonic() + 60
    while not (counts := client.batches.retrieve(made.id).request_counts) or not counts.completed:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.batches.cancel(made.id)
    cancelled = until_over(client, made)
    assert cancelled.status == "cancelled"
    answered = rows(client, cancelled.output_file_id)
    assert 0 < len(answered) < 200
    resumed = client.post(f"/batches/{made.id}/resume", cast_to=openai.types.Batch)
    assert (resumed.status, resumed.cancelled_at, resumed.output_file_id) == ("in_progress", None, None)
    done = until_over(client, made)
    assert (done.status, done.output_file_id) == ("completed", cancelled.output_file_id)
    answers = rows(client, done.output_file_id)
    assert len(answers) == 200
    assert answers.items() >= answered.items()
    with pytest.raises(openai.BadRequestError, match="Cannot resume a batch with status 'completed'"):
        client.post(f"/batches/{made.id}/resume", cast_to=openai.types.Batch)
    with pytest.raises(openai.NotFoundError):
        client.post("/batches/batch_none/resume", cast_to=openai.types.Batch)


@pytest.mark.contract("POST /v1/batches", "output_expires_after", "refused", how="Files stay until they are deleted.")
def test_what_a_batch_cannot_be(client: openai.OpenAI, server: Server) -> None:
    file_id = upload(client, line("a"))
    sound = {"input_file_id": file_id, "endpoint": PATH, "completion_window": "24h"}
    for change, param in (
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, "output_expires_after"),
        ({"endpoint": "/v1/responses"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {"k": "v" * 600}}, "metadata"),
        ({"priority": 1}, "priority"),
    ):
        refused = server.call("POST", "batches", json={**sound, **change})
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == param
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_none")


@pytest.mark.contract("POST /openai/batches", "", "honoured")
@pytest.mark.contract("POST /openai/batches", "*", "honoured", how="As `POST /v1/batches`.")
@pytest.mark.contract("GET /openai/batches", ("", "after", "limit"), "honoured")
@pytest.mark.contract("GET /openai/batches/{batch_id}", "", "honoured")
@pytest.mark.contract("POST /openai/batches/{batch_id}/cancel", "", "honoured")
@pytest.mark.contract(
    "POST /openai/batches/{batch_id}/resume", "", "honoured", how="Ours: Azure's API has no such path."
)
def test_azures_form(server: Server, client: openai.OpenAI) -> None:
    host = server.url.removesuffix("/v1")
    with openai.AzureOpenAI(azure_endpoint=host, api_key="k", api_version="2025-04-01-preview") as azure:
        file_id = upload(client, {**line("a"), "url": "/completions"})
        made = azure.batches.create(
            input_file_id=file_id,
            endpoint="/completions",  # type: ignore[arg-type]
            completion_window="24h",
        )
        assert made.endpoint == PATH
        done = until_over(client, made)
        assert azure.batches.retrieve(made.id) == done
        assert azure.batches.list(limit=1).data == [done]
        assert rows(client, done.output_file_id).keys() == {"a"}
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'completed'"):
            azure.batches.cancel(made.id)
        version = {"params": {"api-version": "2025-04-01-preview"}}
        over = server.http.post(f"{host}/openai/batches/{made.id}/resume", **version)
        assert "Cannot resume a batch with status 'completed'" in over.json()["error"]["message"]
