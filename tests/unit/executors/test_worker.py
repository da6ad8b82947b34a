"""A worker's run, from the claimed job to its end, on a tiny base."""

import json
import os
import threading
import time

import pandas as pd
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from luthier.completion.decoder import load_decoder
from luthier.completion.sequence import Weights
from luthier.datasets import estimate
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Hyperparameters, Method
from luthier.domain.job import Dialect, Job, Status
from luthier.errors import InvalidRequestError
from luthier.executors import finish, worker
from luthier.modeling.bases import BaseStore
from luthier.modeling.lora import PEFT_WEIGHTS
from luthier.services.models import ModelService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore
from luthier.storage.models import TunedModelStore
from luthier.training import checkpoint, defaults

_HP = Hyperparameters(n_epochs=2, batch_size=4, seed=1)
_CLASSIFY = Hyperparameters(
    n_epochs=2,
    batch_size=4,
    compute_classification_metrics=True,
    classification_positive_class=" yes",
    classification_betas=(0.5, 2.0),
)


@pytest.fixture
def db(settings):
    return Database.open(settings)


@pytest.fixture
def jobs(db):
    return JobStore(db)


@pytest.fixture
def models(db):
    return TunedModelStore(db)


@pytest.fixture
def data(settings, db):
    """Stores rows as a training file and gives its id."""

    def data(file_id, rows):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        Blobs(settings).save(file_id, [content], len(content))
        FileStore(db).create(File(file_id, "rows.jsonl", Purpose.FINE_TUNE, len(content), 0, FileStatus.PROCESSED))
        return file_id

    return data


@pytest.fixture
def rows(data):
    both = [{"prompt": f"row {n} ->", "completion": " yes" if n % 3 else " no"} for n in range(12)]
    return data("file-rows", both)


@pytest.fixture
def claim(jobs, tiny_base, rows):
    """A job in the state in which a worker gets it."""

    def claim(hp=_HP, job_id="ft-aaaaaaaaaaaaaaaaaaaaaaaa", **fields):
        fields = {"model": str(tiny_base), "training_file": rows, "validation_file": rows, **fields}
        jobs.create(
            Job(job_id, Dialect.LEGACY, Status.QUEUED, hyperparameters=hp, created_at=0, updated_at=0, **fields)
        )
        return jobs.claim_next()

    return claim


@pytest.fixture
def run(settings):
    """Runs a worker in this process, with a server that stays."""
    reading, writing = os.pipe()
    yield lambda job: worker.run(job.id, settings, reading)
    os.close(writing)


def messages(jobs, job):
    return [event.message for event in jobs.events(job.id).items if event.type == "message"]


def adapter(settings, job):
    return load_file(settings.tuned_dir / job.id / PEFT_WEIGHTS)


def test_a_whole_run(settings, db, jobs, models, claim, run):
    job = claim(_CLASSIFY, suffix="My suffix")
    assert run(job) == 0
    done = jobs.get(job.id)
    assert done.status is Status.SUCCEEDED
    assert done.fine_tuned_model.startswith("tiny:ft-personal:my-suffix-20")
    used = done.resolved
    assert used.n_epochs == 2
    assert done.trained_tokens == 2 * sum(len(f"row {n} ->") + (3 if n % 3 == 0 else 4) for n in range(12))
    assert messages(jobs, job) == [
        "Fine-tune enqueued. Queue number: 0",
        "Fine-tune started",
        f"Chosen automatically: learning_rate_multiplier {used.learning_rate_multiplier:g}, "
        f"prompt_loss_weight {used.prompt_loss_weight:g}, lora_rank {used.lora_rank}, seed {used.seed}",
        "Completed epoch 1/2",
        "Completed epoch 2/2",
        f"Uploaded model: {done.fine_tuned_model}",
        f"Uploaded result file: {done.result_file}",
        "Fine-tune succeeded",
    ]
    file = FileStore(db).get(done.result_file)
    assert (file.filename, file.purpose) == ("compiled_results.csv", Purpose.RESULTS)
    table = pd.read_csv(Blobs(settings).path(file.id))
    assert list(table.columns) == [
        "step",
        "elapsed_tokens",
        "elapsed_examples",
        "training_loss",
        "training_sequence_accuracy",
        "training_token_accuracy",
        "validation_loss",
        "validation_sequence_accuracy",
        "validation_token_accuracy",
        "classification/accuracy",
        "classification/precision",
        "classification/recall",
        "classification/auroc",
        "classification/auprc",
        "classification/f1.0",
        "classification/f0.5",
        "classification/f2.0",
    ]
    assert list(table["step"]) == [1, 2, 3, 4, 5, 6]
    assert all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)
    assert [model.id for model in models.list(job_id=job.id)] == [
        f"{done.fine_tuned_model}:ckpt-step-3",
        done.fine_tuned_model,
    ]
    assert all((settings.tuned_dir / model.folder / PEFT_WEIGHTS).is_file() for model in models.list())
    assert estimate.read_rate(settings.home / estimate.RATES_FILE, done.base, done.resolved.method) > 0


def test_a_table_without_validation_has_no_columns_for_it(settings, jobs, claim, run):
    job = claim(validation_file=None)
    run(job)
    table = pd.read_csv(Blobs(settings).path(jobs.get(job.id).result_file))
    assert list(table.columns)[-1] == "training_token_accuracy"


def test_an_example_that_is_too_long_fails_with_its_line(jobs, claim, run, data):
    long = data("file-long", [{"prompt": "a", "completion": " b"}, {"prompt": "x" * 600, "completion": " b"}])
    job = claim(training_file=long)
    assert run(job) == 1
    failed = jobs.get(job.id)
    assert failed.status is Status.FAILED
    expected = (
        "rows.jsonl (file-long) has examples longer than the 512 tokens that the model takes: line 2 (602 tokens)."
    )
    assert failed.error.startswith(expected)
    assert messages(jobs, job)[-1] == f"Fine-tune failed. {failed.error}"


def test_a_disk_that_is_full_at_a_checkpoint_fails_with_a_sentence(jobs, claim, run, monkeypatch):
    def full(*_):  # what safetensors raises on a full file system
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    job = claim()
    assert run(job) == 1
    assert jobs.get(job.id).error == "The disk of the server is full. Make room, then create the job again."


def test_a_base_that_is_gone_fails_with_its_name(jobs, claim, run):
    job = claim(model="/no/such/base")
    assert run(job) == 1
    assert "/no/such/base" in jobs.get(job.id).error


def test_an_error_nobody_foresaw_fails_with_its_kind(jobs, claim, run, monkeypatch):
    def broken(*_args, **_kwargs):
        raise KeyError("what")

    monkeypatch.setattr(worker, "train", broken)
    job = claim()
    assert run(job) == 1
    assert "KeyError: 'what'" in jobs.get(job.id).error


def test_a_cancel_stops_within_seconds(jobs, models, claim, run):
    job = claim(Hyperparameters(n_epochs=50, batch_size=1))
    threading.Timer(0.2, jobs.request_cancel, [job.id]).start()
    began = time.monotonic()
    assert run(job) == 0
    assert time.monotonic() - began < 60  # a busy machine has its seconds
    assert jobs.get(job.id).status is Status.CANCELLED
    assert messages(jobs, job)[-1] == "Fine-tune cancelled"
    assert models.list() == []


def test_a_paused_job_goes_on_where_it_was_and_ends_as_an_undisturbed_one(settings, jobs, claim, run):
    hp = Hyperparameters(n_epochs=20, batch_size=1, seed=1)
    whole = claim(hp, "ft-bbbbbbbbbbbbbbbbbbbbbbbb")
    run(whole)
    job = claim(hp)
    threading.Timer(0.3, jobs.request_pause, [job.id]).start()
    assert run(job) == 0
    paused = jobs.get(job.id)
    assert paused.status is Status.PAUSED
    assert 0 < paused.checkpoint_step < 240
    assert messages(jobs, job)[-1] == f"Fine-tune paused after step {paused.checkpoint_step}"
    jobs.resume(job.id)
    assert run(jobs.claim_next()) == 0
    assert jobs.get(job.id).status is Status.SUCCEEDED
    one, other = adapter(settings, job), adapter(settings, whole)
    assert all((one[name] == other[name]).all() for name in other)


def test_a_job_that_is_over_is_left_alone(jobs, claim, run):
    job = claim()
    jobs.transition(job.id, status=Status.FAILED, error="x")
    assert run(job) == 0
    assert jobs.get(job.id).error == "x"


def test_a_run_whose_server_died_goes_on_to_the_same_result(settings, jobs, claim, run):
    hp = Hyperparameters(n_epochs=5, batch_size=1, seed=3)
    undisturbed = claim(hp, "ft-undisturbed0000000000000")
    run(undisturbed)

    job = claim(hp, "ft-disturbed000000000000000")
    reading, writing = os.pipe()

    def server():
        while not any(message.startswith("Completed epoch 2/") for message in messages(jobs, job)):
            time.sleep(0.01)
        os.close(writing)

    threading.Thread(target=server).start()
    assert worker.run(job.id, settings, reading) == 0
    left = jobs.get(job.id)
    assert left.status is Status.RUNNING
    assert 24 <= left.checkpoint_step < 60
    assert run(job) == 0

    assert jobs.get(job.id).status is Status.SUCCEEDED
    assert messages(jobs, job).count("Completed epoch 1/5") == 1
    table = pd.read_csv(Blobs(settings).path(jobs.get(job.id).result_file))
    assert list(table["step"]) == list(range(1, 61))
    ours, theirs = adapter(settings, job), adapter(settings, undisturbed)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize("name", ["_save_results", "_save_models"])
def test_a_worker_that_dies_while_it_finishes_is_made_good(name, settings, jobs, db, models, claim, run, monkeypatch):
    class Death(BaseException):
        pass

    real = getattr(finish, name)

    def dies(*args):
        real(*args)
        raise Death

    job = claim()
    with monkeypatch.context() as patch:
        patch.setattr(finish, name, dies)
        with pytest.raises(Death):
            run(job)
    assert jobs.get(job.id).status is Status.RUNNING
    assert models.list() == []
    assert run(job) == 0
    assert jobs.get(job.id).status is Status.SUCCEEDED
    assert len(models.list()) == 2
    assert len(FileStore(db).list(purpose=Purpose.RESULTS).items) == 1
    assert messages(jobs, job).count("Completed epoch 2/2") == 1
    finish.clean(jobs.get(job.id), settings)
    assert [path.name for path in (settings.runs_dir / job.id).iterdir()] == []
    assert len(list(settings.tuned_dir.iterdir())) == 2


def test_a_run_that_starts_again_keeps_no_model_of_the_one_before(settings, jobs, claim, run, monkeypatch):
    class Death(BaseException):
        pass

    real = finish._save_models

    def dies(*args):
        real(*args)
        raise Death

    job = claim()
    with monkeypatch.context() as patch:
        patch.setattr(finish, "_save_models", dies)
        with pytest.raises(Death):
            run(job)
    before = adapter(settings, job)
    monkeypatch.setattr(defaults, "RULES", 0)
    monkeypatch.setattr(defaults, "LORA_SCALE", 4.0)
    assert run(job) == 0
    assert any("starts again from its beginning" in message for message in messages(jobs, job))
    now = adapter(settings, job)
    assert any((now[name] != before[name]).any() for name in now)


@pytest.mark.parametrize(
    ("first", "second"), [(Method.LORA, Method.LORA), (Method.FULL, Method.FULL), (Method.LORA, Method.FULL)]
)
def test_a_tuned_model_is_tuned_further(first, second, jobs, models, claim, run):
    earlier = claim(Hyperparameters(n_epochs=1, batch_size=4, method=first))
    run(earlier)
    parent = jobs.get(earlier.id).fine_tuned_model
    job = claim(Hyperparameters(n_epochs=1, batch_size=4, method=second), "ft-later0000000000000000000", model=parent)
    assert run(job) == 0, jobs.get(job.id).error
    made = models.get(jobs.get(job.id).fine_tuned_model)
    assert (made.parent, made.root, made.method) == (parent, models.get(parent).root, second)
    assert made.id.startswith("tiny:ft-personal-")
    assert made.id != parent


def test_an_adapter_on_tuned_weights_says_so_and_is_served_on_them(settings, jobs, models, claim, run):
    """full, then lora on it, then lora on that; full again ends the need for the first."""
    names = ["tiny"]
    for n, method in enumerate((Method.FULL, Method.LORA, Method.LORA, Method.FULL)):
        model = {"model": names[-1]} if n else {}
        job = claim(Hyperparameters(n_epochs=2, batch_size=4, method=method), f"ft-{n}", **model)
        assert run(job) == 0, jobs.get(job.id).error
        names.append(jobs.get(job.id).fine_tuned_model)
    below = {model.job_id: model.base_folder for model in models.list() if model.step is None}
    assert below == {"ft-0": None, "ft-1": "ft-0", "ft-2": "ft-0", "ft-3": None}
    assert {model.base_folder for model in models.list(job_id="ft-1")} == {"ft-0"}

    bases = BaseStore(settings)
    served = ModelService(settings, bases, bases.registry, models, lambda _: None).resolve(names[2])
    assert served.weights == Weights(settings.tuned_dir / "ft-0", settings.tuned_dir / "ft-1")
    load_decoder(served.weights.base).acquire_adapter(served.weights.adapter)  # or it would raise

    with pytest.raises(InvalidRequestError, match=f"stand on: {names[2]}.*{names[3]}"):
        models.delete(names[1])
    for model in [*models.list(job_id="ft-1"), *models.list(job_id="ft-2")]:
        models.delete(model.id)
    models.delete(names[1])


def test_two_models_of_one_second_get_two_names(jobs, claim, run, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1678818970.0)
    names = []
    for number in range(2):
        job = claim(Hyperparameters(n_epochs=1, batch_size=12), f"ft-{number}")
        run(job)
        names.append(jobs.get(job.id).fine_tuned_model)
    assert names == ["tiny:ft-personal-2023-03-14-18-36-10", "tiny:ft-personal-2023-03-14-18-36-11"]
