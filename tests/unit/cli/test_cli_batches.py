"""`luthier batches`, `luthier tokens` and the old words for engines, over a server of plain Python."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.cli import batches as batches_module
from luthier.errors import DataError, InvalidRequestError, LuthierError

LINE = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "ada", "prompt": "x"}}


def batch(status: str = "completed", **more: Any) -> dict[str, Any]:
    over = status == "completed"
    return {
        "id": "batch_1",
        "object": "batch",
        "status": status,
        "endpoint": "/v1/completions",
        "model": "ada",
        "input_file_id": "file-1",
        "output_file_id": "file-1-output" if over else None,
        "error_file_id": None,
        "errors": None,
        "created_at": 1_700_000_000,
        "completed_at": 1_700_000_060 if over else None,
        "request_counts": {"total": 2, "completed": 2 if over else 1, "failed": 0},
        "usage": {"input_tokens": 1234, "output_tokens": 5},
        "metadata": {"for": "reviews"},
        **more,
    }


@pytest.fixture
def routes(server: Any) -> dict[str, Any]:
    """What the server answers to calls besides its own; a list is taken from the front."""
    own: dict[str, Any] = {}
    known = server._routes

    def answer(call: str) -> Callable[..., httpx.Response]:
        def take(_request: httpx.Request, *_names: str) -> httpx.Response:
            found = own[call]
            value = found.pop(0) if isinstance(found, list) and len(found) > 1 else found
            value = value[0] if isinstance(value, list) else value
            return value if isinstance(value, httpx.Response) else httpx.Response(200, json=value)

        return take

    server._routes = lambda: {**{call: answer(call) for call in own}, **known()}
    return own


def test_creating_uploads_the_file_and_reads_where_it_goes(server, routes, luthier, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(LINE) + "\n", encoding="utf-8")
    routes["POST batches"] = batch("validating")
    done = luthier("batches", "create", str(path), "--metadata", "for=reviews", "--metadata", "x=a=b")
    assert done.exception is None, done.output
    assert "Created batch_1" in done.output
    assert "luthier batches get batch_1" in done.output
    assert server.bodies[-1] == {
        "input_file_id": "file-1",
        "endpoint": "/v1/completions",
        "completion_window": "24h",
        "metadata": {"for": "reviews", "x": "a=b"},
    }
    again = luthier("batches", "create", str(path), "-e", "/v1/embeddings")
    assert "is on the server already" not in again.output  # the fake's file is one for training
    assert server.bodies[-1]["endpoint"] == "/v1/embeddings"


def test_a_file_that_is_no_batch_is_told(luthier, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text("broken\n", encoding="utf-8")
    assert isinstance(luthier("batches", "create", str(path)).exception, DataError)
    path.write_text("no json\n", encoding="utf-8")
    result = luthier("batches", "create", str(path))
    assert isinstance(result.exception, InvalidRequestError)
    assert "--endpoint" in str(result.exception)
    wrong = luthier("batches", "create", str(path), "--metadata", "x")
    assert "KEY=VALUE" in str(wrong.exception)


def test_a_batch_is_waited_for_and_shown(routes, luthier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "_LOOK_SECONDS", 0)
    routes["GET batches/batch_1"] = [batch("validating"), batch("in_progress"), batch()]
    shown = luthier("batches", "get", "batch_1", "--wait").output
    assert "2 of 2" in shown
    assert "1,234 read, 5 generated" in shown
    assert "reviews" in shown
    assert "luthier batches results batch_1" in shown
    assert json.loads(luthier("batches", "get", "batch_1", "--json").output)["status"] == "completed"


def test_what_is_wrong_with_a_batch_is_shown(routes, luthier) -> None:
    wrong = [{"code": "invalid_json_line", "message": f"wrong {n}", "line": n, "param": None} for n in range(1, 13)]
    routes["GET batches/batch_1"] = batch("failed", errors={"object": "list", "data": wrong})
    shown = luthier("batches", "get", "batch_1").output
    assert "Line 3: wrong 3" in shown
    assert "… and 2 more" in shown


def test_all_pages_are_listed(server, routes, luthier) -> None:
    routes["GET batches"] = [
        {"data": [batch()], "has_more": True},
        {"data": [batch("failed", id="batch_0")], "has_more": False},
    ]
    shown = luthier("batches", "list").output
    assert "batch_1" in shown
    assert "batch_0" in shown
    assert server.calls == ["GET batches", "GET batches"]
    routes["GET batches"] = {"data": [], "has_more": False}
    assert "luthier batches create FILE" in luthier("batches", "list").output


def test_cancelling(routes, luthier) -> None:
    routes["POST batches/batch_1/cancel"] = batch("cancelling")
    assert luthier("batches", "cancel", "batch_1").output == "batch_1 is cancelling.\n"


def test_resuming(routes, luthier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "_LOOK_SECONDS", 0)
    routes["POST batches/batch_1/resume"] = batch("in_progress")
    assert luthier("batches", "resume", "batch_1").output == "batch_1 is in_progress.\n"
    routes["GET batches/batch_1"] = batch()
    assert "2 of 2" in luthier("batches", "resume", "batch_1", "--wait").output


@pytest.mark.parametrize(("status", "offered"), [("cancelled", True), ("expired", True), ("completed", False)])
def test_a_batch_that_can_go_on_says_how(routes, luthier, status: str, offered: bool) -> None:
    routes["GET batches/batch_1"] = batch(status)
    assert ("luthier batches resume batch_1" in luthier("batches", "get", "batch_1").output) == offered


def test_results_are_fetched(server, routes, luthier, tmp_path: Path) -> None:
    server.files["file-1-output"] = b'{"custom_id": "a"}\n'
    routes["GET batches/batch_1"] = batch()
    assert luthier("batches", "results", "batch_1").stdout_bytes == b'{"custom_id": "a"}\n'
    output = tmp_path / "answers.jsonl"
    luthier("batches", "results", "batch_1", "-o", str(output))
    assert output.read_bytes() == b'{"custom_id": "a"}\n'
    refused = luthier("batches", "results", "batch_1", "--errors")
    assert "batch_1 has no refusals: it is completed." in str(refused.exception)
    routes["GET batches/batch_1"] = batch("in_progress")
    early = luthier("batches", "results", "batch_1")
    assert isinstance(early.exception, LuthierError)
    assert "luthier batches get batch_1 --wait" in str(early.exception)


def tokens_of(*texts: str) -> dict[str, Any]:
    data = [
        {
            "object": "tokens",
            "index": at,
            "text": text,
            "count": len(text),
            "token_ids": list(text.encode()),
            "tokens": [*text],
        }
        for at, text in enumerate(texts)
    ]
    return {"object": "list", "model": "ada", "tokenizer": "ada", "start_token_ids": [], "data": data}


def test_tokens_of_texts_files_and_standard_input(server, routes, luthier, tmp_path: Path) -> None:
    routes["POST tokenize"] = tokens_of(" ab", "a")
    path = tmp_path / "label.txt"
    path.write_text("a", encoding="utf-8")
    shown = luthier("tokens", " ab", str(path)).output
    assert server.bodies[-1] == {"model": "ada", "input": [" ab", "a"]}
    assert '32  " "' in shown
    assert '" ab": 3 tokens' in shown
    assert "label.txt: 1 token\n" in shown
    assert 'logit_bias  {"32": 100, "97": 100, "98": 100}' in shown
    luthier("tokens", "-m", "babbage", input="from standard input")
    assert server.bodies[-1] == {"model": "babbage", "input": ["from standard input"]}


def test_tokens_as_json(routes, luthier) -> None:
    routes["POST tokenize"] = tokens_of("ab")
    printed = json.loads(luthier("tokens", "ab", "--json", "--bias", "-2.5").output)
    assert printed["logit_bias"] == {"97": -2.5, "98": -2.5}
    assert printed["data"][0]["token_ids"] == [97, 98]


def test_many_tokens_are_cut_short(routes, luthier) -> None:
    long = "".join(chr(33 + n % 90) for n in range(300))
    routes["POST tokenize"] = tokens_of(long)
    shown = luthier("tokens", long).output
    assert "… and 100 more; --json prints them all." in shown
    assert "logit_bias" not in shown


def test_engines_by_the_old_words(server, routes, luthier) -> None:
    engine = {"id": "ada", "object": "engine", "ready": True}
    routes["GET engines"] = {"data": [engine]}
    routes["GET engines/ada"] = routes["POST engines/ada"] = engine
    assert json.loads(luthier("engines.list").output) == {"data": [engine]}
    assert json.loads(luthier("api", "engines.get", "-i", "ada").output) == engine
    assert json.loads(luthier("engines.update", "-i", "ada", "-r", "1").output) == engine
    assert server.bodies[-1] == {"replicas": 1}
    routes["POST engines/ada/generate"] = {"data": [{"text": ["a", "b"], "logprobs": None}]}
    assert luthier("engines.generate", "-i", "ada", "-c", "a", "-l", "1", "-t", "0").output == "ab\n"
    assert server.bodies[-1] == {"context": "a", "length": 1, "temperature": 0}
    routes["POST engines/ada/generate"] = {"data": [{"text": ["a"], "logprobs": None}] * 2}
    assert "===== Completion 1 =====\na\n" in luthier("engines.generate", "-i", "ada", "-n", "2").output
    part = server.sse({"data": [{"text": ["a", "c"], "logprobs": None}]}, {"data": [{"text": ["d"], "logprobs": None}]})
    routes["POST engines/ada/generate"] = httpx.Response(200, content=part)
    assert luthier("engines.generate", "-i", "ada", "-c", "a", "--stream").output == "acd\n"
