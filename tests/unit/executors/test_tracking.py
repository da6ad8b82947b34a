"""A job's metrics at Weights & Biases: what the package is given, and what its failures mean."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from luthier.domain.hyperparameters import Hyperparameters, Method, ResolvedHyperparameters
from luthier.domain.job import Dialect, Job, Status, WandbRun
from luthier.executors import tracking
from luthier.training.progress import EpochDone, ResultRow, StepDone

RESOLVED = ResolvedHyperparameters(2, 1, 0.1, 0.0, Method.LORA, 16, 7)


def job(run):
    return Job(
        "ftjob-1", Dialect.JOBS, Status.RUNNING, "ada", Hyperparameters(), "file-1", 0, 0,
        wandb=run, metadata={"team": "blue"},
    )  # fmt: skip


def step(number):
    return StepDone(ResultRow(number, 10 * number, number, 0.5, None, 0.25), 1, 3, 1.0)


class FakeRun:
    url = "https://wandb.ai/me/p/runs/ftjob-1"

    def __init__(self):
        self.logged, self.ended, self.lost = [], [], None

    def log(self, record, step):
        if self.lost:
            raise self.lost
        self.logged.append((step, record))

    def finish(self, exit_code=0):
        self.ended.append(exit_code)
        if self.lost:
            raise self.lost


@pytest.fixture
def wandb(monkeypatch):
    class Error(Exception):
        pass

    module = ModuleType("wandb")
    module.run, module.asked, module.fails = FakeRun(), {}, None

    def init(**options):
        if module.fails:
            raise Error(module.fails)
        module.asked.update(options)
        return module.run

    module.init, module.errors = init, SimpleNamespace(Error=Error)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    return module


@pytest.fixture
def notes():
    return []


@pytest.fixture
def note(notes):
    return lambda message, **more: notes.append((message, more))


def test_a_job_without_an_integration_touches_nothing(settings, note, notes, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with tracking.follow(job(None), RESOLVED, settings, note) as tell:
        tell(step(1))
    assert notes == []


def test_each_step_goes_to_the_run(settings, wandb, note, notes):
    with tracking.follow(job(WandbRun("p", "n", "e", ("x",))), RESOLVED, settings, note) as tell:
        tell(step(1))
        tell(EpochDone(1, 2))
        tell(step(2))
    asked = wandb.asked
    assert (asked["project"], asked["name"], asked["entity"]) == ("p", "n", "e")
    assert (asked["id"], asked["resume"]) == ("ftjob-1", "allow")
    assert asked["tags"] == ["x", "luthier", "luthier/ada", "luthier/ftjob-1"]
    assert asked["config"].items() >= {"team": "blue", "n_epochs": 2, "model": "ada", "seed": 7}.items()
    assert "beta" not in asked["config"]
    assert [number for number, _ in wandb.run.logged] == [1, 2]
    assert wandb.run.logged[0][1] == {
        "step": 1, "elapsed_tokens": 10, "elapsed_examples": 1, "training_loss": 0.5, "training_token_accuracy": 0.25,
    }  # fmt: skip
    assert wandb.run.ended == [0]
    assert notes == [(f"Weights & Biases: {FakeRun.url}", {"key": "wandb"})]


def test_a_run_that_fails_is_told_so(settings, wandb, note):
    with pytest.raises(KeyError), tracking.follow(job(WandbRun("p")), RESOLVED, settings, note):
        raise KeyError
    assert wandb.run.ended == [1]
    assert wandb.asked["name"] == "ftjob-1"


def test_a_job_goes_on_without_it(settings, wandb, note, notes):
    wandb.fails = "the key was revoked"
    with tracking.follow(job(WandbRun("p")), RESOLVED, settings, note) as tell:
        tell(step(1))
    [(message, more)] = notes
    assert message == "Weights & Biases: the key was revoked. The job goes on without it"
    assert more["level"] == "warn"


@pytest.mark.parametrize("steps", [0, 2])
def test_a_job_goes_on_when_the_run_is_lost_on_the_way_or_at_its_end(settings, wandb, note, notes, steps):
    with tracking.follow(job(WandbRun("p")), RESOLVED, settings, note) as tell:
        wandb.run.lost = ConnectionResetError("the process is gone.")
        for number in range(steps):
            tell(step(number + 1))
    _, (message, more) = notes
    assert message == "Weights & Biases: the process is gone. The job goes on without it"
    assert (more["level"], wandb.run.ended) == ("warn", [] if steps else [0])


def test_a_lost_run_does_not_hide_why_a_job_failed(settings, wandb, note, notes):
    wandb.run.lost = ConnectionResetError()
    with pytest.raises(KeyError), tracking.follow(job(WandbRun("p")), RESOLVED, settings, note):
        raise KeyError
    assert notes[-1][0] == "Weights & Biases: ConnectionResetError. The job goes on without it"


def test_a_package_that_cannot_be_imported_does_not_end_a_job(settings, monkeypatch, note, notes):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with tracking.follow(job(WandbRun("p")), RESOLVED, settings, note) as tell:
        tell(step(1))
    assert notes[-1][1]["key"] == "wandb-lost"


def test_the_real_package_keeps_a_run_on_this_machine(settings, note, notes, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    with tracking.follow(job(WandbRun("p", tags=("x",))), RESOLVED, settings, note) as tell:
        tell(step(1))
        tell(step(2))
    [(message, _)] = notes
    assert message == f"Weights & Biases: the run is kept in {settings.home / 'wandb'}"
    [kept] = (settings.home / "wandb").rglob("run-ftjob-1.wandb")
    assert kept.stat().st_size > 0
