"""Requests that schemathesis makes up from our OpenAPI, sound and unsound: none gives a 5xx, none hangs.

FUZZ_EXAMPLES says how many for each operation and kind; `make fuzz` takes 2,000.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from contract_helpers import Server, jsonl, rows, serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from luthier.config import Settings
from luthier.server.openapi import document

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
SECONDS = 60  # an answer that takes longer counts as none
MANY_TOKENS = 8
CHATS = "gpt-4o"
CHECKS = [
    getattr(schemathesis.checks, name)
    for name in ("not_a_server_error", "response_schema_conformance", "content_type_conformance")
]
OPERATIONS = [result.ok() for result in schemathesis.openapi.from_dict(json.loads(document())).get_all_operations()]


def cases() -> Iterator[Any]:
    """Each operation with sound requests, and with unsound ones if a request of it can be that."""
    for operation in OPERATIONS:
        raw = operation.definition.raw
        yield pytest.param(operation, GenerationMode.POSITIVE, id=f"{operation.label}-sound")
        if "requestBody" in raw or any(item["in"] == "query" for item in raw.get("parameters", ())):
            yield pytest.param(operation, GenerationMode.NEGATIVE, id=f"{operation.label}-unsound")


@dataclass(frozen=True)
class Fuzzed:
    """A server, and names that it knows."""

    url: str
    known: dict[str, str]
    session: requests.Session


@pytest.fixture(scope="module")
def fuzzed(idle_settings: Settings) -> Iterator[Fuzzed]:
    """A server that starts no job, with a file, and a job that is over."""
    with serve(idle_settings) as server, requests.Session() as session:
        session.trust_env = False
        file_id = _file(server)
        job_id = server.call("POST", "fine-tunes", json={"training_file": file_id, "model": "ada"}).json()["id"]
        server.call("POST", f"fine-tunes/{job_id}/cancel")
        known = {
            **dict.fromkeys(("file_id", "training_file", "validation_file", "input_file_id", "after"), file_id),
            **dict.fromkeys(("fine_tune_id", "job_id"), job_id),
            **dict.fromkeys(("model", "engine", "deployment"), "ada"),
            "api-version": "2024-10-21",
        }
        yield Fuzzed(server.url.removesuffix("/v1"), known, session)


def _file(server: Server) -> str:
    sent = {"data": {"purpose": "fine-tune"}, "files": {"file": ("train.jsonl", jsonl(rows(8)))}}
    return str(server.call("POST", "files", **sent).json()["id"])


def _make_known(draw: st.DrawFn, fields: Any, known: dict[str, str]) -> None:
    """Half of the names that say something to this server, so that requests get past the first check."""
    if not isinstance(fields, dict):
        return
    if "messages" in fields:
        known = known | {"model": CHATS}
        fields.setdefault("max_tokens", MANY_TOKENS)
    for name in fields.keys() & known.keys():
        if draw(st.booleans()):
            fields[name] = known[name]
    for name in fields.keys() & {"max_tokens", "max_completion_tokens", "n", "best_of"}:
        if (
            isinstance(fields[name], int) and MANY_TOKENS < fields[name] < 10_000
        ):  # the engine's speed is tested elsewhere
            fields[name] = MANY_TOKENS


@pytest.mark.parametrize(("operation", "mode"), list(cases()))
def test_made_up_requests(fuzzed: Fuzzed, operation: schemathesis.APIOperation, mode: GenerationMode) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data(), operation.as_strategy(generation_mode=mode))
    def send(data: st.DataObject, case: schemathesis.Case) -> None:
        for fields in (case.path_parameters, case.query, case.body):
            _make_known(data.draw, fields, fuzzed.known)
        response = case.call(base_url=fuzzed.url, session=fuzzed.session, timeout=SECONDS)
        case.validate_response(response, checks=CHECKS)

    send()
