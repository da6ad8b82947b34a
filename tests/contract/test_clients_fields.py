"""Every field that today's client can send and this server does not read is refused by name."""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from compatibility import described
from contract_helpers import Server

from luthier.server.openapi import document

ENDPOINTS = described(json.loads(document()))
OF_THE_CLIENT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
SENT_BY: dict[str, Callable[..., Any]] = {
    "POST /v1/batches": openai.resources.Batches.create,
    "GET /v1/batches": openai.resources.Batches.list,
    "POST /v1/chat/completions": openai.resources.chat.Completions.create,
    "POST /v1/completions": openai.resources.Completions.create,
    "POST /v1/embeddings": openai.resources.Embeddings.create,
    "POST /v1/files": openai.resources.Files.create,
    "GET /v1/files": openai.resources.Files.list,
    "POST /v1/fine_tuning/jobs": openai.resources.fine_tuning.Jobs.create,
    "GET /v1/fine_tuning/jobs": openai.resources.fine_tuning.Jobs.list,
    "GET /v1/fine_tuning/jobs/{job_id}/events": openai.resources.fine_tuning.Jobs.list_events,
}


def not_read() -> Iterator[Any]:
    """Endpoint and field, each marked as refused."""
    for endpoint, method in SENT_BY.items():
        if endpoint in ENDPOINTS:
            in_path = {part.strip("{}") for part in endpoint.split("/") if part.startswith("{")}
            in_path |= {"fine_tuning_job_id"}
            known = {*ENDPOINTS[endpoint].fields, *in_path, *OF_THE_CLIENT}
            for name in sorted(set(inspect.signature(method).parameters) - known):
                yield pytest.param(endpoint, name, marks=pytest.mark.contract(endpoint, name, "refused"))


CASES = list(not_read())


@pytest.mark.parametrize(("endpoint", "name"), CASES)
def test_a_field_that_is_not_read_is_refused_by_name(server: Server, endpoint: str, name: str) -> None:
    method, path = endpoint.split(" /v1/")
    if method == "GET":
        sent: dict[str, Any] = {"params": {name: "1"}}
    elif endpoint == "POST /v1/files":
        sent = {"data": {"purpose": "fine-tune", name: "1"}, "files": {"file": ("a.jsonl", b"{}")}}
    else:
        sent = {"json": {name: "1"}}
    response = server.call(method, path.replace("{job_id}", "ftjob-none"), **sent)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == name
    assert name in error["message"]
