"""The commands and lines of the document, one by one, by `openai==0.27.2` in an environment of its own."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract_helpers import SEPARATOR, OldClient, Server, write

Wait = Callable[[str], Any]

FILE_KEYS = {"bytes", "created_at", "filename", "id", "object", "purpose", "status", "status_details"}


@dataclass(frozen=True)
class Tuned:
    """A finished fine-tune of this file's tests."""

    job: str
    model: str
    printed: str


@pytest.fixture(scope="session")
def tuned(old_python: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """The document's creation: both files uploaded, classification metrics, following to the end."""
    folder = tmp_path_factory.mktemp("document")
    old_client = OldClient(old_python, server.url, folder)
    write(folder / "sport2_prepared_train.jsonl", 16)
    write(folder / "sport2_prepared_valid.jsonl", 6, start=16)
    printed = old_client(
        *("api", "fine_tunes.create", "-t", "sport2_prepared_train.jsonl", "-v", "sport2_prepared_valid.jsonl"),
        *("--compute_classification_metrics", "--classification_positive_class", " baseball", "-m", "ada"),
    )
    job = re.search(r"Created fine-tune: (ft-\w+)", printed)
    model = re.search(r"completions.create -m (\S+)", printed)
    assert job, printed
    assert model, printed
    return Tuned(job[1], model[1], printed)


@pytest.mark.contract("POST /v1/fine-tunes", ("", "training_file", "validation_file", "model"), "honoured")
@pytest.mark.contract("GET /v1/fine-tunes/{fine_tune_id}/events", ("", "stream"), "honoured")
def test_create_uploads_and_follows(tuned: Tuned) -> None:
    assert re.search(r"Uploaded file from sport2_prepared_train.jsonl: file-\w+", tuned.printed)
    assert re.search(r"Uploaded file from sport2_prepared_valid.jsonl: file-\w+", tuned.printed)
    for message in (
        "Fine-tune enqueued. Queue number: ",  # other tests may have left a job before it
        "Fine-tune started",
        "Completed epoch 1/4",
        "Completed epoch 4/4",
        f"Uploaded model: {tuned.model}",
        "Fine-tune succeeded",
        "Job complete! Status: succeeded",
    ):
        assert tuned.printed.count(message) == 1, message
    assert re.fullmatch(r"ada:ft-personal(-\d\d\d\d)(-\d\d){5}", tuned.model)


@pytest.mark.contract("GET /v1/fine-tunes", "", "honoured")
def test_list_prints_the_documents_fields(old_client: OldClient, tuned: Tuned) -> None:
    listed = json.loads(old_client("api", "fine_tunes.list"))
    assert listed["object"] == "list"
    assert [job["created_at"] for job in listed["data"]] == sorted(job["created_at"] for job in listed["data"])
    job = next(job for job in listed["data"] if job["id"] == tuned.job)
    assert set(job) == {
        *("created_at", "fine_tuned_model", "hyperparams", "id", "model", "object", "organization_id", "project_id"),
        *("result_files", "status", "training_files", "updated_at", "validation_files"),
    }
    assert (job["object"], job["model"], job["status"]) == ("fine-tune", "ada", "succeeded")
    assert set(job["hyperparams"]) == {
        *("batch_size", "classification_positive_class", "compute_classification_metrics"),
        *("learning_rate_multiplier", "n_epochs", "prompt_loss_weight", "method", "lora_rank", "seed"),
    }
    assert job["hyperparams"]["classification_positive_class"] == " baseball"
    assert None not in job["hyperparams"].values()
    for role, filename in (
        ("training_files", "sport2_prepared_train.jsonl"),
        ("validation_files", "sport2_prepared_valid.jsonl"),
        ("result_files", "compiled_results.csv"),
    ):
        (file,) = job[role]
        assert set(file) == FILE_KEYS
        assert (file["filename"], file["status"], file["status_details"]) == (filename, "processed", None)
        assert file["bytes"] > 0


@pytest.mark.contract("GET /v1/fine-tunes/{fine_tune_id}", "", "honoured")
def test_get_and_events(old_client: OldClient, tuned: Tuned) -> None:
    job = json.loads(old_client("api", "fine_tunes.get", "-i", tuned.job))
    events = json.loads(old_client("api", "fine_tunes.events", "-i", tuned.job))
    assert job["events"] == events["data"]
    assert events["data"][0]["message"] == f"Created fine-tune: {tuned.job}"
    assert {event["object"] for event in events["data"]} == {"fine-tune-event"}


def test_follow_a_finished_job(old_client: OldClient, tuned: Tuned) -> None:
    printed = old_client("api", "fine_tunes.follow", "-i", tuned.job)
    assert "Created fine-tune" in printed
    assert "Job complete! Status: succeeded" in printed


@pytest.mark.contract(
    "POST /v1/fine-tunes", ("compute_classification_metrics", "classification_positive_class"), "honoured"
)
def test_results_are_a_table_of_numbers(old_client: OldClient, tuned: Tuned) -> None:
    rows = list(csv.DictReader(io.StringIO(old_client("api", "fine_tunes.results", "-i", tuned.job).strip())))
    assert list(rows[0]) == [
        *("step", "elapsed_tokens", "elapsed_examples"),
        *("training_loss", "training_sequence_accuracy", "training_token_accuracy"),
        *("validation_loss", "validation_sequence_accuracy", "validation_token_accuracy"),
        *("classification/accuracy", "classification/precision", "classification/recall"),
        *("classification/auroc", "classification/auprc", "classification/f1.0"),
    ]
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert all(float(value) is not None for value in row.values() if value)
    assert 0 <= float(rows[-1]["classification/accuracy"]) <= 1


@pytest.mark.contract("GET /v1/files/{file_id}/content", "", "honoured")
def test_results_as_the_documents_pandas_lines_read_them(old_client: OldClient, tuned: Tuned) -> None:
    printed = old_client.run(
        f"import pandas as pd, io\n"
        f"file = openai.FineTune.retrieve(id={tuned.job!r})['result_files'][0]['id']\n"
        f"results = pd.read_csv(io.BytesIO(openai.File.download(id=file)))\n"
        f"print(results[results['classification/accuracy'].notnull()].tail(1)['step'].iloc[0], len(results))"
    )
    last, total = printed.split()
    assert last == total


def test_results_given_a_files_id(old_client: OldClient, tuned: Tuned) -> None:
    job = json.loads(old_client("api", "fine_tunes.get", "-i", tuned.job))
    printed = old_client("api", "fine_tunes.results", "-i", job["result_files"][0]["id"], fails=True)
    assert "No such fine-tune job" in printed


@pytest.mark.contract("POST /v1/completions", "", "honoured")
def test_completions_from_the_command_line(old_client: OldClient, tuned: Tuned) -> None:
    prompt = f"bat and pitcher 1{SEPARATOR}"
    words = ("api", "completions.create", "-m", tuned.model, "-p", prompt)
    assert len(old_client(*words, "-M", "1", "-t", "0")) > len(prompt)
    assert old_client(*words, "-M", "3", "-t", "0").startswith(prompt)
    assert old_client(*words, "-M", "3", "-t", "0", "--stream").rstrip("\n") == old_client(
        *words, "-M", "3", "-t", "0"
    ).rstrip("\n")


def test_completion_with_log_probabilities(old_client: OldClient, tuned: Tuned) -> None:
    printed = old_client.run(
        f"res = openai.Completion.create(model={tuned.model!r}, prompt='puck' + {SEPARATOR!r},"
        " max_tokens=1, temperature=0, logprobs=2)\n"
        "print(json.dumps([res['choices'][0]['text'], res['choices'][0]['logprobs'], res['model'], res['usage']]))"
    )
    text, logprobs, model, usage = json.loads(printed)
    assert model == tuned.model
    (top,) = logprobs["top_logprobs"]
    assert len(top) == 2
    assert len(logprobs["tokens"]) == len(text) == 1
    assert logprobs["token_logprobs"] == [max(top.values())]
    assert usage["completion_tokens"] == 1


@pytest.mark.contract("POST /v1/fine-tunes", ("suffix", "n_epochs"), "honoured")
@pytest.mark.contract("DELETE /v1/models/{model}", "", "honoured")
def test_python_lines_of_fine_tuning(old_client: OldClient) -> None:
    write(old_client.folder / "train.jsonl", 4)
    printed = old_client.run(
        "file = openai.File.create(file=open('train.jsonl', 'rb'), purpose='fine-tune')\n"
        "job = openai.FineTune.create(training_file=file.id, model='ada', n_epochs=1, suffix='My Suffix')\n"
        "messages = [event['message'] for event in openai.FineTune.stream_events(job.id)]\n"
        "job = openai.FineTune.retrieve(id=job.id)\n"
        "deleted = openai.Model.delete(job.fine_tuned_model)\n"
        "print(json.dumps([file, messages, job, deleted]))"
    )
    file, messages, job, deleted = json.loads(printed)
    assert (file["filename"], file["status"]) == ("file", "processed")
    assert messages[-1] == "Fine-tune succeeded"
    assert re.fullmatch(r"ada:ft-personal:my-suffix(-\d+){6}", job["fine_tuned_model"])
    assert deleted == {"deleted": True, "id": job["fine_tuned_model"], "object": "model"}


@pytest.mark.contract("GET /v1/models", "", "honoured")
@pytest.mark.contract("GET /v1/models/{model}", "", "honoured")
def test_models(old_client: OldClient, tuned: Tuned) -> None:
    listed = json.loads(old_client("api", "models.list"))["data"]
    assert {"ada", tuned.model} <= {model["id"] for model in listed}
    assert json.loads(old_client("api", "models.get", "-i", tuned.model))["id"] == tuned.model
    assert "does not exist" in old_client("api", "models.get", "-i", "ada:ft-nobody", fails=True)


@pytest.mark.contract("POST /v1/files", ("", "file", "purpose"), "honoured")
@pytest.mark.contract("GET /v1/files", "", "honoured")
@pytest.mark.contract("GET /v1/files/{file_id}", "", "honoured")
@pytest.mark.contract("DELETE /v1/files/{file_id}", "", "honoured")
def test_files(old_client: OldClient) -> None:
    write(old_client.folder / "few.jsonl", 3)
    made = json.loads(re.sub(r"^[^{]*", "", old_client("api", "files.create", "-f", "few.jsonl", "-p", "fine-tune")))
    assert (made["filename"], made["purpose"], made["status"]) == ("few.jsonl", "fine-tune", "processed")
    assert made in json.loads(old_client("api", "files.list"))["data"]
    assert json.loads(old_client("api", "files.get", "-i", made["id"])) == made
    gone = {"deleted": True, "id": made["id"], "object": "file"}
    assert json.loads(old_client("api", "files.delete", "-i", made["id"])) == gone
    assert "No such File object" in old_client("api", "files.get", "-i", made["id"], fails=True)


@pytest.mark.contract("POST /v1/fine-tunes", "batch_size", "honoured")
@pytest.mark.contract("POST /v1/fine-tunes/{fine_tune_id}/cancel", "", "honoured")
@pytest.mark.contract("DELETE /v1/fine-tunes/{fine_tune_id}", "", "honoured")
def test_create_from_a_path_without_following_then_cancel_and_delete(old_client: OldClient, wait: Wait) -> None:
    (old_client.folder / "some folder").mkdir()
    write(old_client.folder / "some folder" / "train.jsonl", 8)
    words = ("api", "fine_tunes.create", "-t", "./some folder/train.jsonl", "-m", "ada", "--no_follow")
    printed = old_client(*words, "--n_epochs", "50", "--batch_size", "1")
    job = json.loads(printed[printed.index("{") :])
    assert job["status"] == "pending"
    assert job["training_files"][0]["filename"] == "./some folder/train.jsonl"
    assert job["hyperparams"]["n_epochs"] == 50
    old_client("api", "fine_tunes.cancel", "-i", job["id"])
    assert wait(job["id"]).status == "cancelled"
    gone = {"deleted": True, "id": job["id"], "object": "fine-tune"}
    assert json.loads(old_client("api", "fine_tunes.delete", "-i", job["id"])) == gone
    assert "No such fine-tune job" in old_client("api", "fine_tunes.get", "-i", job["id"], fails=True)


def test_a_file_with_errors_is_refused_when_it_is_used(old_client: OldClient) -> None:
    (old_client.folder / "broken.jsonl").write_text('{"prompt": "a", "completion": " b"}\n{"prompt": 1}\n')
    printed = old_client("api", "fine_tunes.create", "-t", "broken.jsonl", "-m", "ada", fails=True)
    assert "Line 2" in printed
    assert "HTTP status code: 400" in printed


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_leaves_the_job_running(old_client: OldClient, wait: Wait) -> None:
    write(old_client.folder / "train.jsonl", 400)  # more than can be learnt while the client starts
    command = old_client.command(
        *("api", "fine_tunes.create", "-t", "train.jsonl", "-m", "ada", "--n_epochs", "50", "--batch_size", "1")
    )
    with subprocess.Popen(
        command, env=old_client.environment, cwd=old_client.folder, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        printed = ""
        while "Fine-tune enqueued" not in printed:
            printed += following.stdout.readline()
        time.sleep(0.2)
        following.send_signal(signal.SIGINT)
        printed += following.communicate(timeout=60)[0]
    job = re.search(r"Created fine-tune: (ft-\w+)", printed)
    assert job
    assert re.search(r"Stream interrupted. Job is still (pending|running)", printed), printed
    assert json.loads(old_client("api", "fine_tunes.cancel", "-i", job[1]))["status"] in ("running", "cancelled")
    assert wait(job[1]).status == "cancelled"
