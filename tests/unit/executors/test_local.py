"""What becomes of a job whose trainer ends in each of the ways in which a process can end."""

import os
import sys
import time

import pytest

from luthier.domain.hyperparameters import Hyperparameters, Method
from luthier.domain.job import Dialect, Job, Status
from luthier.domain.model import TunedModel
from luthier.errors import ConfigError
from luthier.executors.deaths import reason
from luthier.executors.local import LocalExecutor
from luthier.storage.db import Database
from luthier.storage.jobs import JobStore
from luthier.storage.models import TunedModelStore

_TRAINER = """
import os, signal, sys
from luthier.config import load_settings
from luthier.domain.job import Status
from luthier.storage.db import Database
from luthier.storage.jobs import JobStore
jobs = JobStore(Database.open(load_settings()))
job = jobs.get(sys.argv[1])
def succeed():
    jobs.transition(job.id, status=Status.SUCCEEDED)
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
"""
_SUCCEED = "succeed()"
_OBEY = "print('obeys', flush=True); sys.stdin.read()"
_STUBBORN = "import time; print('stays', flush=True); time.sleep(600)"

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")


@pytest.fixture
def jobs(settings):
    return JobStore(Database.open(settings))


@pytest.fixture
def start(settings, jobs):
    """Starts an executor whose trainers run these lines."""
    started = []

    def start(lines, **options):
        command = (sys.executable, "-c", _TRAINER + lines)
        executor = LocalExecutor(settings, jobs, command=command, **options)
        executor.start()
        started.append(executor)
        return executor

    yield start
    for executor in started:
        executor.stop()


def add(jobs, job_id="ft-1"):
    return jobs.create(Job(job_id, Dialect.LEGACY, Status.QUEUED, "ada", Hyperparameters(), "file-1", 0, 0))


def until(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def ended(jobs, job_id="ft-1"):
    until(lambda: jobs.get(job_id).status.is_final)
    return jobs.get(job_id)


def messages(jobs, job_id="ft-1"):
    return [event.message for event in jobs.events(job_id).items]


def log_holds(settings, text, job_id="ft-1"):
    log = settings.runs_dir / job_id / "worker.log"
    return log.is_file() and text in log.read_text(encoding="utf-8")


def test_jobs_run_one_after_the_other(jobs, start):
    add(jobs)
    executor = start(_SUCCEED)
    assert ended(jobs).status is Status.SUCCEEDED
    add(jobs, "ft-2")
    executor.wake()
    assert ended(jobs, "ft-2").status is Status.SUCCEEDED
    assert jobs.get("ft-2").started_at >= jobs.get("ft-1").finished_at


@posix
def test_killed_before_any_checkpoint_fails_with_a_reason(jobs, start):
    add(jobs)
    start("kill()")
    job = ended(jobs)
    assert job.status is Status.FAILED
    assert "ended by the system (signal 9), most likely for lack of memory" in job.error
    assert "LUTHIER_TRAIN_TOKENS" in job.error
    assert messages(jobs)[-1] == f"Fine-tune failed. {job.error}"


@posix
def test_killed_after_a_checkpoint_goes_on(jobs, start):
    add(jobs)
    start("if job.checkpoint_step: succeed()\nelse:\n    jobs.transition(job.id, checkpoint_step=24)\n    kill()\n")
    assert ended(jobs).status is Status.SUCCEEDED
    assert any("goes on after step 24" in message for message in messages(jobs))
    assert messages(jobs).count("Fine-tune started") == 1


@posix
def test_killed_twice_at_one_checkpoint_fails(jobs, start):
    add(jobs)
    start("jobs.transition(job.id, checkpoint_step=24); kill()")
    assert ended(jobs).status is Status.FAILED


def test_an_exit_without_a_word_fails_with_the_log_s_last_line(jobs, start):
    add(jobs)
    start("sys.exit('libgomp: something is missing')")
    job = ended(jobs)
    assert job.status is Status.FAILED
    assert job.error.endswith("exit code 1. Its last words: libgomp: something is missing")


@posix
def test_killed_after_a_cancel_is_cancelled(jobs, start):
    add(jobs)
    start("jobs.request_cancel(job.id); kill()")
    assert ended(jobs).status is Status.CANCELLED


def test_a_trainer_that_cannot_be_started_fails_its_job(settings, jobs):
    add(jobs)
    executor = LocalExecutor(settings, jobs, command=("/no/such/program",))
    executor.start()
    job = ended(jobs)
    executor.stop()
    assert "could not be started" in job.error


def test_a_stopped_server_leaves_the_job_to_the_next(settings, jobs, start):
    add(jobs)
    first = start(_OBEY)
    until(lambda: log_holds(settings, "obeys"))
    first.stop()
    assert jobs.get("ft-1").status is Status.RUNNING
    start(_SUCCEED)
    assert ended(jobs).status is Status.SUCCEEDED
    assert "The server was started again; the job goes on from its beginning" in messages(jobs)


@posix
def test_a_signal_that_also_reaches_the_trainer_leaves_the_job_to_the_next_server(settings, jobs, start):
    add(jobs)
    first = start("print('ends', flush=True); os.kill(os.getpid(), signal.SIGTERM)")
    until(lambda: log_holds(settings, "ends"))
    time.sleep(0.3)  # the trainer is dead, and the server has not begun to stop
    first.stop()
    assert jobs.get("ft-1").status is Status.RUNNING


def test_a_trainer_that_does_not_stop_is_ended(settings, jobs, start):
    add(jobs)
    executor = start(_STUBBORN, stop_seconds=0.2)
    until(lambda: log_holds(settings, "stays"))
    began = time.monotonic()
    executor.stop()
    assert time.monotonic() - began < 5


def test_a_job_that_was_to_be_cancelled_when_the_server_died_is_cancelled(jobs, start):
    add(jobs)
    jobs.claim_next()
    jobs.request_cancel("ft-1")
    start(_SUCCEED)
    assert ended(jobs).status is Status.CANCELLED


def test_a_pause_lets_the_others_go_on_and_outlives_servers(settings, jobs, start):
    add(jobs)
    add(jobs, "ft-2")
    first = start(
        "if job.id == 'ft-2': succeed(); sys.exit()\n"
        "jobs.transition(job.id, checkpoint_step=7); jobs.request_pause(job.id); kill()"
    )
    assert ended(jobs, "ft-2").status is Status.SUCCEEDED
    assert jobs.get("ft-1").status is Status.PAUSED
    first.stop()
    (settings.runs_dir / "ft-1" / "checkpoints").mkdir()
    second = start(_SUCCEED)
    add(jobs, "ft-3")
    second.wake()
    assert ended(jobs, "ft-3").status is Status.SUCCEEDED
    assert jobs.get("ft-1").status is Status.PAUSED
    assert (settings.runs_dir / "ft-1" / "checkpoints").is_dir()
    jobs.resume("ft-1")
    second.wake()
    assert ended(jobs).status is Status.SUCCEEDED
    assert "Fine-tune paused after step 7" in messages(jobs)


def test_a_job_that_was_to_be_paused_when_the_server_died_is_paused(jobs, start):
    add(jobs)
    jobs.claim_next()
    jobs.request_pause("ft-1")
    start(_SUCCEED)
    until(lambda: jobs.get("ft-1").status is Status.PAUSED)


def test_one_server_for_one_home(settings, jobs, start):
    first = start(_SUCCEED)
    with pytest.raises(ConfigError, match="Another server"):
        LocalExecutor(settings, jobs).start()
    first.stop()
    start(_SUCCEED)


def test_what_jobs_left_is_cleared_away(settings, jobs, start):
    add(jobs)
    run_dir = settings.runs_dir / "ft-1"
    (run_dir / "checkpoints" / "step-1").mkdir(parents=True)
    (run_dir / "worker.lock").touch()
    (settings.tuned_dir / ".ft-1.unfinished").mkdir(parents=True)
    (settings.tuned_dir / "ft-10").mkdir()
    model = TunedModel("ada:ft-10", "tiny", "ada", Method.LORA, "ft-10", "ft-10", 1)
    TunedModelStore(Database.open(settings)).add(model)
    start("sys.exit('gone')")
    ended(jobs)
    until(lambda: [path.name for path in run_dir.iterdir()] == ["worker.log"])
    until(lambda: [path.name for path in settings.tuned_dir.iterdir()] == ["ft-10"])


def test_what_deleted_jobs_left_is_swept_at_the_start(settings, jobs, start):
    for name in ("ft-1", "ft-gone"):
        (settings.runs_dir / name / "checkpoints").mkdir(parents=True)
    add(jobs)
    start("sys.exit('gone')")
    ended(jobs)
    until(lambda: [path.name for path in settings.runs_dir.iterdir()] == ["ft-1"])


def test_what_a_kill_left_of_models_and_uploads_is_swept_at_the_start(settings, jobs, start):
    for job_id in ("ft-over", "ftjob-1"):
        add(jobs, job_id)
        jobs.claim_next()
    jobs.transition("ft-over", status=Status.FAILED, error="why")
    jobs.request_pause("ftjob-1")
    jobs.settle("ftjob-1")
    model = TunedModel("ada:ft-kept", "tiny", "ada", Method.LORA, "ft-kept-step-3", "ft-kept", 1)
    TunedModelStore(Database.open(settings)).add(model)
    stay = {"ft-kept-step-3", "ftjob-1", "ftjob-1-step-3", ".ftjob-1.unfinished", "notes"}
    for name in stay | {"ft-kept", "ft-over", "ftjob-gone", ".ft-gone-step-3.unfinished"}:
        (settings.tuned_dir / name).mkdir(parents=True)
    settings.blobs_dir.mkdir()
    for name in ("file-old", "file-old.partial", "file-young.partial"):
        (settings.blobs_dir / name).touch()
    for name in ("file-old", "file-old.partial"):
        os.utime(settings.blobs_dir / name, (1, 1))
    start(_SUCCEED)
    until(lambda: {path.name for path in settings.blobs_dir.iterdir()} == {"file-old", "file-young.partial"})
    assert {path.name for path in settings.tuned_dir.iterdir()} == stay


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "ran out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "ran out of memory",
        ),
        (OSError(28, "No space left on device"), "disk of the server is full"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "disk of the server is full"),
        (KeyError("x"), "did not expect: KeyError: 'x'"),
    ],
)
def test_reasons(error, words):
    assert words in reason(error)
