"""Bad input, each with its status and message. None gives a 5xx, and none loses a file."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from contract_helpers import SEPARATOR, Server, jsonl, rows

Form = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One request and what it must get.

    Args:
        name: of the test.
        request: method and path under /v1.
        status: of the answer.
        message: regular expression found in the error's message.
        param: the error's param.
        body: JSON to send; `@NAME` strings are replaced by the ids of `ids`.
        content: bytes to send instead.
        form: fields and file of a form to send instead.
    """

    name: str
    request: str
    status: int
    message: str
    param: str | None = None
    body: Any = None
    content: bytes | None = None
    form: Form = field(default_factory=dict)


def completion(name: str, message: str, param: str | None, status: int = 400, **fields: Any) -> Case:
    body = {"model": "ada", "prompt": "a", **fields}
    return Case(f"completion: {name}", "POST completions", status, message, param, body)


def fine_tune(name: str, message: str, param: str | None, **fields: Any) -> Case:
    body = {"training_file": "@train", "model": "ada", **fields}
    return Case(f"fine-tune: {name}", "POST fine-tunes", 400, message, param, body)


DPO_WITH_PROMPT_WEIGHT = {"type": "dpo", "dpo": {"hyperparameters": {"prompt_loss_weight": 0.1}}}


def job(name: str, message: str, param: str | None, **fields: Any) -> Case:
    body = {"training_file": "@train", "model": "ada", **fields}
    return Case(f"job: {name}", "POST fine_tuning/jobs", 400, message, param, body)


def upload(name: str, status: int, message: str, param: str | None, **form: Any) -> Case:
    return Case(f"upload: {name}", "POST files", status, message, param, form=form)


TWO_CLASSES = {"compute_classification_metrics": True, "classification_n_classes": 2}
WORDS = {"n_epochs": "x"}
PURPOSE = {"purpose": "fine-tune"}
FILE = ("a.jsonl", jsonl(rows(2)))
CLASSES = {"compute_classification_metrics": True, "validation_file": "@valid"}
NUL = "\0"

CASES = [
    # Bodies
    Case("body: none", "POST completions", 400, "no body"),
    Case("body: not JSON", "POST completions", 400, r"not JSON.*line 1, column 2", content=b"{model: 1}"),
    Case("body: not an object", "POST completions", 400, "must be a JSON object, not an array", content=b"[]"),
    Case("body: not UTF-8", "POST completions", 400, "not UTF-8", content=b'{"model": "\xff"}'),
    Case("body: NaN", "POST completions", 400, "NaN", content=b'{"model": "ada", "temperature": NaN}'),
    Case("body: Infinity", "POST fine-tunes", 400, "Infinity", content=b'{"n_epochs": Infinity}'),
    Case("body: twice", "POST completions", 400, "'n' stands twice", "n", content=b'{"n": 1, "n": 2}'),
    Case("body: half a surrogate", "POST completions", 400, "surrogate", content=b'{"prompt": "\\ud800"}'),
    Case("body: endless digits", "POST completions", 400, "too many digits", content=b'{"n": ' + b"9" * 9999 + b"}"),
    Case("body: too deep", "POST completions", 400, "too deeply", content=b'{"a":' * 40_000 + b"1" + b"}" * 40_000),
    Case("body: too large", "POST completions", 413, "larger than 300000 bytes", content=b" " * 300_001),
    # Paths
    Case("path: unknown", "GET nothing", 404, r"Invalid URL \(GET /v1/nothing\)"),
    Case("path: wrong method", "PUT models/ada", 405, "Not allowed to PUT"),
    Case("path: wrong method on a collection", "DELETE fine-tunes", 405, "It takes GET and POST"),
    Case("path: edits are not there", "POST chat/edits", 404, "Invalid URL", body={"model": "ada"}),
    Case("query: unknown", "GET files?purpos=fine-tune", 400, "Did you mean 'purpose'", "purpos"),
    Case("query: wrong kind", "GET fine_tuning/jobs?limit=x", 400, "'limit' must be a whole number", "limit"),
    Case("query: too small", "GET fine_tuning/jobs?limit=0", 400, "'limit' must be at least 1", "limit"),
    Case("query: too large", "GET fine_tuning/jobs?limit=101", 400, "'limit' must be at most 100", "limit"),
    Case("query: no such cursor", "GET fine_tuning/jobs?after=ftjob-none", 400, "ftjob-none", "after"),
    Case("query: no such order", "GET files?order=up", 400, "'order' must be 'asc' or 'desc'", "order"),
    Case("query: no such purpose", "GET files?purpose=cats", 400, "'cats' is no purpose", "purpose"),
    # Files
    upload("no file", 400, "parameter 'file'", "file", files={"purpose": (None, "fine-tune")}),
    upload("no purpose", 400, "parameter 'purpose'", "purpose", files={"file": FILE}),
    upload("unknown purpose", 400, "not a purpose", "purpose", data={"purpose": "cats"}, files={"file": FILE}),
    upload("our own purpose", 400, "uploaded", "purpose", data={"purpose": "fine-tune-results"}, files={"file": FILE}),
    upload("two files", 400, "two files", "file", data=PURPOSE, files=[("file", FILE)] * 2),
    upload("another field", 400, "model", "model", data={"purpose": "fine-tune", "model": "a"}, files={"file": FILE}),
    upload("another name", 400, "Did you mean 'file'", "files", data=PURPOSE, files={"files": FILE}),
    upload("too large", 413, "larger than", "file", data=PURPOSE, files={"file": ("a", b"x" * 2**21)}),
    upload("far too large", 413, "larger than", None, data=PURPOSE, files={"file": ("a", b"x" * 2**22)}),
    upload("no name", 400, "name", "file", data=PURPOSE, files={"file": (" ", b"x")}),
    Case("upload: no form", "POST files", 400, "multipart/form-data", body={"purpose": "fine-tune"}),
    Case("file: unknown", "GET files/file-none", 404, "No such File object: file-none", "id"),
    Case("file: a path", "GET files/.%2Fdata%2Ftrain.jsonl", 404, "No such File object: ./data/train.jsonl", "id"),
    Case("file: a URL", "GET files/http%3A%2F%2Fa.b%2Fc", 404, "No such File object: http://a.b/c", "id"),
    Case("file: no id", "GET files/", 404, "No such File object", "id"),
    Case("file: climbing", "GET files/..%2F..%2Fluthier.db/content", 404, "No such File object", "id"),
    Case("file: deleting what is not there", "DELETE files/file-none", 404, "No such File object", "id"),
    Case("file: content of what is not there", "GET files/file-none/content", 404, "No such File object", "id"),
    # Fine-tunes
    Case("fine-tune: unknown", "GET fine-tunes/ft-none", 404, "No such fine-tune job: ft-none", "fine_tune_id"),
    Case("fine-tune: events of none", "GET fine-tunes/ft-none/events?stream=true", 404, "ft-none", "fine_tune_id"),
    Case("fine-tune: cancelling none", "POST fine-tunes/ft-none/cancel", 404, "ft-none", "fine_tune_id"),
    Case("fine-tune: deleting none", "DELETE fine-tunes/ft-none", 404, "ft-none", "fine_tune_id"),
    Case("fine-tune: no file", "POST fine-tunes", 400, "parameter 'training_file'", "training_file", {"model": "ada"}),
    fine_tune("no such file", "file-none", "training_file", training_file="file-none"),
    fine_tune("file with errors", r"broken.jsonl.*Line 2", "training_file", training_file="@broken"),
    fine_tune("empty file", "empty.jsonl", "training_file", training_file="@empty"),
    fine_tune("validation with errors", "Line 2", "validation_file", validation_file="@broken"),
    fine_tune("unknown model", "model", "model", model="adda"),
    fine_tune("unknown tuned model", "model", "model", model="ada:ft-nobody-2023-01-01-00-00-00"),
    fine_tune("unknown field", "Did you mean 'n_epochs'", "n_epoch", n_epoch=3),
    fine_tune("no epochs", "n_epochs", "n_epochs", n_epochs=0),
    fine_tune("epochs that are none", "'n_epochs' must be a whole number, not 2.5", "n_epochs", n_epochs=2.5),
    fine_tune("epochs in words", "'n_epochs' must be a whole number", "n_epochs", n_epochs="four"),
    fine_tune("true epochs", "'n_epochs' must be a whole number, not true", "n_epochs", n_epochs=True),
    fine_tune("huge batch", "batch_size", "batch_size", batch_size=1000),
    fine_tune("batch beyond the file", "only 8 examples", "batch_size", batch_size=9),
    fine_tune("negative rate", "learning_rate_multiplier", "learning_rate_multiplier", learning_rate_multiplier=-1),
    fine_tune("prompt weight", "prompt_loss_weight", "prompt_loss_weight", prompt_loss_weight=-0.1),
    fine_tune("long suffix", "40", "suffix", suffix="x" * 41),
    fine_tune("suffix without a letter", "suffix", "suffix", suffix="!!!"),
    fine_tune("seed", "seed", "seed", seed=-1),
    fine_tune("huge seed", "seed", "seed", seed=2**70),
    fine_tune("method", "'method' must be 'lora' or 'full'", "method", method="qlora"),
    fine_tune("rank", "lora_rank", "lora_rank", lora_rank=0),
    fine_tune("metrics without validation", "validation file", "validation_file", **TWO_CLASSES),
    fine_tune("metrics without classes", "classification_", "classification_n_classes", **CLASSES),
    fine_tune(
        "unknown class",
        'Did you mean " baseball"',
        "classification_positive_class",
        classification_positive_class="baseball",
        **CLASSES,
    ),
    fine_tune(
        "wrong number of classes", "3 classes", "classification_n_classes", classification_n_classes=3, **CLASSES
    ),
    fine_tune("betas in words", "classification_betas", "classification_betas.0", classification_betas=["1"]),
    # Today's dialect
    Case("job: unknown", "GET fine_tuning/jobs/ftjob-none", 404, "ftjob-none", "fine_tune_id"),
    Case("job: no model", "POST fine_tuning/jobs", 400, "parameter 'model'", "model", {"training_file": "@train"}),
    job("other integration", "no integration 'mlflow'", "integrations[0].type", integrations=[{"type": "mlflow"}]),
    job("integration alone", "needs its settings", "integrations[0].wandb", integrations=[{"type": "wandb"}]),
    job("dpo on prompts", "learns from preference examples", "training_file", method={"type": "dpo", "dpo": {}}),
    job("dpo with what it has not", "prompt_loss_weight", "prompt_loss_weight", method=DPO_WITH_PROMPT_WEIGHT),
    job("two methods", "the field 'dpo' is of another method", "method.dpo", method={"type": "supervised", "dpo": {}}),
    job("unknown method", "'magic' is not supported", "method.type", method={"type": "magic"}),
    job("method without a type", "parameter 'method.type'", "method.type", method={}),
    job("unknown hyperparameter", "n_epochs", "epochs", hyperparameters={"epochs": 1}),
    job("bad hyperparameter", "hyperparameters.n_epochs", "hyperparameters.n_epochs", hyperparameters=WORDS),
    job(
        "hyperparameters twice",
        "Give them once",
        "hyperparameters",
        hyperparameters={"n_epochs": 1},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    ),
    job("metadata of numbers", "metadata.a", "metadata.a", metadata={"a": 1}),
    job("too much metadata", "16", "metadata", metadata={str(i): "x" for i in range(17)}),
    job("legacy field at the top", "prompt_loss_weight", "prompt_loss_weight", prompt_loss_weight=0),
    # Models
    Case("model: unknown", "GET models/nobody", 404, "nobody", "model"),
    Case("model: with slashes", "GET models/no%2Fsuch%3Amodel", 404, "no/such:model", "model"),
    Case("model: deleting a base", "DELETE models/ada", 403, "is a base model", "model"),
    Case("model: deleting none", "DELETE models/ada:ft-nobody", 404, "ada:ft-nobody", "model"),
    # Completions
    Case("completion: no model", "POST completions", 400, "parameter 'model'", "model", {"prompt": "a"}),
    completion("null model", "parameter 'model'", "model", model=None),
    completion("unknown model", "does not exist", "model", 404, model="adda"),
    completion("unknown field", "Did you mean 'temperature'", "temperatur", temperatur=0),
    completion("prompt of another kind", "'prompt' must be a string", "prompt", prompt={"a": 1}),
    completion("mixed prompt", "'prompt' must be a string", "prompt", prompt=["a", 1]),
    completion("no prompts", "prompt", "prompt", prompt=[]),
    completion("an empty prompt among others", "prompt", "prompt", prompt=["a", []]),
    completion("no such token", "prompt", "prompt", prompt=[10**6]),
    completion("negative token", "prompt", "prompt", prompt=[-1]),
    completion("prompt too long", "maximum context length is 512 tokens", "prompt", prompt="a" * 600),
    completion("no room to answer", "maximum context length is 512 tokens", "max_tokens", max_tokens=512),
    completion("negative max_tokens", "max_tokens", "max_tokens", max_tokens=-1),
    completion("huge max_tokens", "maximum context length", "max_tokens", max_tokens=10**30),
    completion("temperature too high", "temperature", "temperature", temperature=2.1),
    completion("temperature in words", "'temperature' must be a number", "temperature", temperature="hot"),
    completion("top_p", "top_p", "top_p", top_p=1.5),
    completion("n of none", "'n'|n ", "n", n=0),
    completion("too many", "n", "n", n=10**6),
    completion("best_of below n", "best_of", "best_of", n=3, best_of=2),
    completion("best_of streamed", "best_of", "best_of", best_of=2, stream=True),
    completion("logprobs", "logprobs", "logprobs", logprobs=1000),
    completion("true logprobs", "'logprobs' must be a whole number", "logprobs", logprobs=True),
    completion("too many stops", "stop", "stop", stop=["a", "b", "c", "d", "e"]),
    completion("an empty stop", "stop", "stop", stop=""),
    completion("stop of another kind", "'stop' must be a string", "stop", stop=[1]),
    completion("presence penalty", "presence_penalty", "presence_penalty", presence_penalty=3),
    completion("frequency penalty", "frequency_penalty", "frequency_penalty", frequency_penalty=-3),
    completion("bias by text", "98", "logit_bias", logit_bias={"b": -100}),
    completion("bias on no token", "logit_bias", "logit_bias", logit_bias={"1000000": 1}),
    completion("half a million choices", "4096", "n", prompt=["a"] * 2048, n=128),
    completion("bias on a number of 5,000 digits", "Maximum value", "logit_bias", logit_bias={"1" * 5000: 1}),
    completion("bias too strong", "logit_bias", "logit_bias", logit_bias={"97": 101}),
    completion("bias in words", "logit_bias", "logit_bias.97", logit_bias={"97": "much"}),
    completion("suffix", "suffix", "suffix", suffix=" end"),
    completion("user of another kind", "'user' must be a string", "user", user=1),
    completion("stream in words", "'stream' must be true or false", "stream", stream="yes"),
    completion("stream_options alone", "stream_options", "stream_options", stream_options={"include_usage": True}),
    completion("NUL and newlines", "does not exist", "model", 404, model=f"a{NUL}\n"),
]


@pytest.fixture(scope="module")
def ids(client: openai.OpenAI) -> dict[str, str]:
    contents = {
        "train": jsonl(rows(8)),
        "valid": jsonl(rows(4, start=8)),
        "broken": b'{"prompt": "a", "completion": " b"}\nnot JSON\n',
        "empty": b"",
    }
    return {
        name: client.files.create(file=(f"{name}.jsonl", content), purpose="fine-tune").id
        for name, content in contents.items()
    }


def _fill(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, ids) for key, item in value.items()}
    return ids[value[1:]] if isinstance(value, str) and value.startswith("@") else value


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(server: Server, ids: dict[str, str], case: Case) -> None:
    before = {file["id"] for file in server.call("GET", "files").json()["data"]}
    method, path = case.request.split(" ", 1)
    options: dict[str, Any] = dict(case.form)
    if case.body is not None:
        options["json"] = _fill(case.body, ids)
    if case.content is not None:
        options["content"] = case.content
    response = server.call(method, path, **options)

    assert response.status_code == case.status, response.text
    assert response.headers["content-type"].startswith("application/json")
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert re.search(case.message, error["message"], re.DOTALL), error
    assert error["param"] == case.param, error
    assert error["type"] == ("permission_error" if case.status == 403 else "invalid_request_error")
    assert "Traceback" not in response.text
    assert {file["id"] for file in server.call("GET", "files").json()["data"]} == before


BAD_FILES = {
    "not JSON": (b'{"prompt": "a", "completion": " b"}\nnot JSON\n', "Line 2"),
    "not an object": (b"[1]\n", "Line 1"),
    "a key missing": (b'{"prompt": "a"}\n', "completion"),
    "an empty completion": (b'{"prompt": "a", "completion": ""}\n', "Line 1"),
    "a number for a text": (b'{"prompt": 1, "completion": " b"}\n', "prompt"),
    "not UTF-8": (b'{"prompt": "\xff", "completion": " b"}\n', "UTF-8"),
    "a line too long": (b'{"prompt": "' + b"x" * 150_000 + b'", "completion": " b"}\n', "Line 1"),
    "nothing": (b"", "."),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_kept_and_says_what_is_wrong(client: openai.OpenAI, name: str) -> None:
    content, words = BAD_FILES[name]
    file = client.files.create(file=("bad.jsonl", content), purpose="fine-tune")
    assert file.status == "error"
    assert words in (file.status_details or "")
    assert client.files.content(file.id).content == content
    with pytest.raises(openai.BadRequestError, match=re.escape(file.status_details or "")):
        client.fine_tuning.jobs.create(training_file=file.id, model="ada")


def test_byte_order_mark_and_carriage_returns_are_simply_read(client: openai.OpenAI) -> None:
    lines = jsonl([{"prompt": f"a{SEPARATOR}", "completion": " b"}]).replace(b"\n", b"\r\n")
    file = client.files.create(file=("windows.jsonl", b"\xef\xbb\xbf" + lines), purpose="fine-tune")
    assert (file.status, file.status_details) == ("processed", None)


def test_using_the_results_file_as_training_file(client: openai.OpenAI, wait: Callable[[str], Any], ids: Any) -> None:
    made = client.fine_tuning.jobs.create(training_file=ids["train"], model="ada", hyperparameters={"n_epochs": 1})
    (results,) = wait(made.id).result_files
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.fine_tuning.jobs.create(training_file=results, model="ada")
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(made.id)


@pytest.mark.contract("POST /v1/fine_tuning/jobs/{job_id}/cancel", "", "honoured")
def test_a_file_in_use_and_a_job_at_work_are_not_deleted(
    server: Server, client: openai.OpenAI, wait: Callable[[str], Any]
) -> None:
    file = client.files.create(file=("used.jsonl", jsonl(rows(8))), purpose="fine-tune")
    made = client.fine_tuning.jobs.create(training_file=file.id, model="ada", hyperparameters={"n_epochs": 50})
    with pytest.raises(openai.BadRequestError, match=f"in use by {made.id}"):
        client.files.delete(file.id)
    refused = server.call("DELETE", f"fine-tunes/{made.id}")
    assert refused.status_code == 400
    assert "Cancel it first" in refused.json()["error"]["message"]
    client.fine_tuning.jobs.cancel(made.id)
    assert wait(made.id).status == "cancelled"
    assert client.files.delete(file.id).deleted
    assert server.call("DELETE", f"fine-tunes/{made.id}").json() == {
        "id": made.id, "object": "fine-tune", "deleted": True
    }  # fmt: skip
    assert json.loads(server.call("GET", f"fine-tunes/{made.id}").content)["error"]["param"] == "fine_tune_id"
