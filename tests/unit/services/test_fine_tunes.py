"""Fine-tunes: every request that is refused, with its field, and what a good one gives."""

import json
import math
import time
from dataclasses import replace

import pytest

from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Hyperparameters, Method
from luthier.domain.job import Dialect, Status
from luthier.domain.model import TunedModel
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.modeling.bases import BaseStore
from luthier.modeling.lora import PEFT_CONFIG
from luthier.reports import result_csv
from luthier.services.files import FileService
from luthier.services.fine_tunes import CreateFineTune, FineTuneService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore, event
from luthier.storage.models import TunedModelStore

_BINARY = Hyperparameters(compute_classification_metrics=True, classification_positive_class=" yes")


class FakeExecutor:
    woken = 0

    def wake(self):
        self.woken += 1


@pytest.fixture
def db(settings):
    return Database.open(settings)


@pytest.fixture
def models(db):
    return TunedModelStore(db)


@pytest.fixture
def executor():
    return FakeExecutor()


@pytest.fixture
def service(settings, db, models, executor):
    return FineTuneService(settings, JobStore(db), FileStore(db), models, executor, BaseStore(settings))


@pytest.fixture
def upload(settings, db):
    files = FileService(settings, FileStore(db), Blobs(settings))

    def upload(completions):
        lines = [json.dumps({"prompt": f"{n} ->", "completion": label}) for n, label in enumerate(completions)]
        return files.create("train.jsonl", "fine-tune", ["\n".join(lines).encode()]).id

    return upload


@pytest.fixture
def request_for(upload, tiny_base):
    """A good request, with changes; hyperparameters by their names."""
    train = upload([" yes", " no", " yes", " no"])

    def request_for(hp=None, **fields):
        fields = {"training_file": train, "model": str(tiny_base), "dialect": Dialect.LEGACY, **fields}
        return CreateFineTune(hyperparameters=hp or Hyperparameters(), **fields)

    return request_for


def refused(service, request):
    with pytest.raises(InvalidRequestError) as error:
        service.create(request)
    assert service.list().items == ()
    return error.value


def test_a_good_request_waits_in_the_queue(service, request_for, executor):
    job = service.create(request_for(suffix="My suffix", metadata={"a": "b"}))
    assert job.id.startswith("ft-")
    assert (job.status, job.suffix, job.metadata, job.organization) == (
        Status.QUEUED,
        "My suffix",
        {"a": "b"},
        "personal",
    )
    assert [event.message for event in service.events(job.id).items] == [
        f"Created fine-tune: {job.id}",
        "Fine-tune enqueued. Queue number: 0",
    ]
    assert executor.woken == 1
    assert service.get(job.id) == job
    assert service.list().items == (job,)
    assert service.create(request_for(dialect=Dialect.JOBS)).id.startswith("ftjob-")


@pytest.mark.parametrize(
    ("hp", "param"),
    [
        ({"n_epochs": 0}, "n_epochs"),
        ({"n_epochs": 51}, "n_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 257}, "batch_size"),
        ({"batch_size": 5}, "batch_size"),
        ({"learning_rate_multiplier": 0.0}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": -0.1}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": 11.0}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": math.nan}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": math.inf}, "learning_rate_multiplier"),
        ({"prompt_loss_weight": -0.01}, "prompt_loss_weight"),
        ({"prompt_loss_weight": 1.01}, "prompt_loss_weight"),
        ({"prompt_loss_weight": math.nan}, "prompt_loss_weight"),
        ({"lora_rank": 0}, "lora_rank"),
        ({"lora_rank": 8, "method": Method.FULL}, "lora_rank"),
        ({"seed": -1}, "seed"),
        ({"classification_n_classes": 2}, "classification_n_classes"),
        ({"classification_positive_class": " yes"}, "classification_positive_class"),
        ({"classification_betas": (1.0,)}, "classification_betas"),
        ({"compute_classification_metrics": True}, "classification_n_classes"),
    ],
)
def test_numbers_out_of_range_and_fields_that_do_not_go_together(service, request_for, hp, param):
    assert refused(service, request_for(Hyperparameters(**hp))).param == param


@pytest.mark.parametrize(
    "hp",
    [
        {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1e-6, "prompt_loss_weight": 0.0, "seed": 0},
        {
            "n_epochs": 50,
            "batch_size": 4,
            "learning_rate_multiplier": 10.0,
            "prompt_loss_weight": 1.0,
            "lora_rank": 256,
        },
        {"method": Method.FULL},
    ],
)
def test_the_ends_of_the_ranges_are_taken(service, request_for, hp):
    assert service.create(request_for(Hyperparameters(**hp))).hyperparameters == Hyperparameters(**hp)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"training_file": "file-none"}, "training_file", "no file file-none"),
        ({"validation_file": "file-none"}, "validation_file", "no file file-none"),
        ({"model": "adda"}, "model", "Did you mean 'ada'"),
        ({"model": ""}, "model", "does not exist"),
        ({"model": "text-embedding-ada-002"}, "model", "makes embeddings"),
        ({"model": "/no/such/folder"}, "model", "/no/such/folder"),
        ({"model": "ada:ft-personal-2020-01-01-00-00-00"}, "model", "does not exist"),
        ({"suffix": "x" * 41}, "suffix", "41 characters"),
        ({"suffix": "!!!"}, "suffix", "letters, digits"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "17 pairs"),
        ({"metadata": {"k" * 65: ""}}, "metadata", "64 characters"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "512"),
    ],
)
def test_files_models_and_names_that_cannot_be(service, request_for, fields, param, words):
    error = refused(service, request_for(**fields))
    assert error.param == param
    assert words in error.message


def test_a_file_with_errors_is_refused_with_its_details(service, request_for, upload):
    error = refused(service, request_for(training_file=upload([" a", ""])))
    assert error.param == "training_file"
    assert "Line 2: `completion` is empty" in error.message


def test_a_result_file_is_no_training_file(service, request_for, db):
    FileStore(db).create(File("file-r", "compiled_results.csv", Purpose.RESULTS, 1, 0, FileStatus.PROCESSED))
    assert "fine-tune-results" in refused(service, request_for(training_file="file-r")).message


def test_metrics_need_a_validation_file(service, request_for):
    assert refused(service, request_for(_BINARY)).param == "validation_file"


@pytest.mark.parametrize(
    ("hp", "valid", "param", "words"),
    [
        (_BINARY, [" yes", " no", " perhaps"], "classification_positive_class", "have 3"),
        (
            replace(_BINARY, classification_positive_class="yes"),
            [" yes"],
            "classification_positive_class",
            'Did you mean " yes"?',
        ),
        (replace(_BINARY, classification_n_classes=3), [" yes"], "classification_positive_class", "Leave one"),
        (replace(_BINARY, classification_n_classes=1), [" yes"], "classification_n_classes", "at least 2"),
        (replace(_BINARY, classification_betas=(1.0, 0.0)), [" yes"], "classification_betas", "0.0"),
        (replace(_BINARY, classification_betas=(math.nan,)), [" yes"], "classification_betas", "nan"),
        (replace(_BINARY, classification_betas=(1e200,)), [" yes"], "classification_betas", "0.001 to 1000"),
        (
            Hyperparameters(compute_classification_metrics=True, classification_n_classes=3),
            [" yes"],
            "classification_n_classes",
            'the files have 2: " yes", " no"',
        ),
        (
            Hyperparameters(compute_classification_metrics=True, classification_n_classes=3),
            [" yes", " perhaps"],
            "validation_file",
            "perhaps",
        ),
        (
            Hyperparameters(
                compute_classification_metrics=True, classification_n_classes=2, classification_betas=(1.0,)
            ),
            [" yes"],
            "classification_betas",
            "positive_class",
        ),
    ],
)
def test_classes_that_do_not_fit_the_data(service, request_for, upload, hp, valid, param, words):
    error = refused(service, request_for(hp, validation_file=upload(valid)))
    assert (error.param, words in error.message) == (param, True), error.message


@pytest.mark.parametrize(
    "hp",
    [
        replace(_BINARY, classification_betas=(0.5, 2.0)),
        replace(_BINARY, classification_n_classes=2),
        Hyperparameters(compute_classification_metrics=True, classification_n_classes=2),
    ],
)
def test_classes_that_fit(service, request_for, upload, hp):
    assert service.create(request_for(hp, validation_file=upload([" yes"]))).hyperparameters == hp


def test_labels_that_begin_other_labels_are_warned_of(service, request_for, upload):
    def warnings(labels, hp):
        asked = request_for(hp, training_file=upload(labels * 2), validation_file=upload(labels))
        return [event for event in service.events(service.create(asked).id).items if event.level == "warn"]

    three = Hyperparameters(compute_classification_metrics=True, classification_n_classes=3)
    (warning,) = warnings([" 1", " 10", " 2"], three)
    assert '" 1" begins " 10"' in warning.message
    assert "may favour the shorter ones" in warning.message  # scores go by tokens, which nobody has looked at yet
    assert "End all completions alike" in warning.message
    assert warnings([" 1\n", " 10\n", " 2\n"], three) == []
    assert warnings([" 1", " 10", " 2"], Hyperparameters()) == []


@pytest.fixture
def tuned(settings, models, tiny_base):
    def tuned(method):
        folder = settings.tuned_dir / f"ft-{method}"
        folder.mkdir(parents=True)
        if method is Method.LORA:
            (folder / PEFT_CONFIG).write_text('{"r": 8}', encoding="utf-8")
        name = f"tiny:ft-personal-{method}"
        return models.add(TunedModel(name, str(tiny_base), "tiny", method, folder.name, "ft-0", 0)).id

    return tuned


def test_an_adapter_goes_on_with_its_own_rank(service, request_for, tuned):
    asked = request_for(Hyperparameters(lora_rank=16), model=tuned(Method.LORA))
    assert refused(service, asked).param == "lora_rank"


@pytest.mark.parametrize(
    ("parent", "hp"),
    [
        (Method.LORA, Hyperparameters()),
        (Method.LORA, Hyperparameters(lora_rank=8)),
        (Method.LORA, Hyperparameters(method=Method.FULL)),
        (Method.FULL, Hyperparameters(method=Method.FULL)),
        (Method.FULL, Hyperparameters()),
        (Method.FULL, Hyperparameters(lora_rank=4)),
    ],
)
def test_a_tuned_model_is_a_base_too(service, request_for, tuned, parent, hp):
    assert service.create(request_for(hp, model=tuned(parent))).model == f"tiny:ft-personal-{parent}"


def test_a_running_job_says_when_it_will_be_over(service, request_for, db):
    jobs = JobStore(db)
    job = service.create(request_for())
    assert service.estimated_finish(job) is None
    job = jobs.claim_next()
    assert service.estimated_finish(job) is None
    for left in (5000.0, 3000.4):
        jobs.add_event(job.id, event("Step", data={"seconds_left": left}))
    jobs.add_event(job.id, event("a word between"))
    assert service.estimated_finish(job) == pytest.approx(time.time() + 3000, abs=30)
    jobs.add_event(job.id, replace(event("Step", data={"seconds_left": 5.0}), created_at=100))
    assert service.estimated_finish(job) == pytest.approx(time.time(), abs=30)  # late, and not in the past
    jobs.add_event(job.id, event("Step", data={"step": 1}))
    assert service.estimated_finish(job) is None
    assert service.estimated_finish(jobs.transition(job.id, status=Status.FAILED, error="no")) is None


def test_cancelling_and_deleting(service, request_for):
    job = service.create(request_for())
    with pytest.raises(InvalidRequestError, match="Cancel it first"):
        service.delete(job.id)
    assert service.cancel(job.id).status is Status.CANCELLED
    with pytest.raises(InvalidRequestError, match="already completed"):
        service.cancel(job.id)
    service.delete(job.id)
    with pytest.raises(NotFoundError):
        service.get(job.id)


def test_a_cancelled_job_leaves_its_log_and_a_deleted_one_nothing(service, request_for, settings):
    job, other = service.create(request_for()), service.create(request_for())
    run_dir = settings.runs_dir / job.id
    (run_dir / "checkpoints" / "step-1").mkdir(parents=True)  # of a run that a server before this one began
    (run_dir / "worker.log").touch()
    (settings.runs_dir / other.id).mkdir()
    service.cancel(job.id)
    assert [path.name for path in run_dir.iterdir()] == ["worker.log"]
    service.delete(job.id)
    assert [path.name for path in settings.runs_dir.iterdir()] == [other.id]


def test_the_files_of_a_job_outlive_their_deletion(service, request_for, upload, db):
    job = service.create(request_for(validation_file=upload([" yes"])))
    service.cancel(job.id)
    FileStore(db).delete(job.validation_file)
    files = service.files_of(job)
    assert [file.id for file in files.training] == [job.training_file]
    assert [file.status for file in files.validation] == [FileStatus.DELETED]
    assert files.results == ()


def test_checkpoints_come_with_their_row_of_the_results(service, request_for, db, settings, tmp_path):
    job = service.create(request_for())
    assert service.checkpoints(job.id) == ()
    table = tmp_path / "compiled_results.csv"
    result_csv.write(table, ["step", "training_loss"], [{"step": n, "training_loss": n / 10} for n in range(1, 5)])
    Blobs(settings).save("file-r", [table.read_bytes()], 1000)
    final = TunedModel("tiny:ft-x", "tiny", "tiny", Method.LORA, "f", job.id, 0)
    early = replace(final, id="tiny:ft-x:ckpt-step-2", folder="f2", step=2)
    jobs = JobStore(db)
    jobs.claim_next()
    file = File("file-r", "compiled_results.csv", Purpose.RESULTS, 1, 0, FileStatus.PROCESSED)
    jobs.finish(job.id, files=[file], models=[early, final], status=Status.SUCCEEDED, result_file="file-r")
    last, first = service.checkpoints(job.id)
    assert (last.model, last.step, last.metrics) == (final, 4, {"step": 4.0, "training_loss": 0.4})
    assert (first.model, first.step, first.metrics["training_loss"]) == (early, 2, 0.2)
    assert first.id == f"ftckpt-{job.id[3:]}-2"
    Blobs(settings).delete("file-r")
    assert service.checkpoints(job.id)[1].metrics == {}
