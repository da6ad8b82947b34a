"""One fine-tune, trained from beginning to end in a process of its own: `python -m luthier.executors.worker JOB_ID`.

Settings come from the environment. Standard input is a pipe that the server holds open and never writes to: when it
ends, the server is gone, and the worker stops; the job goes on from its last checkpoint when a server is back.
"""

import contextlib
import faulthandler
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from luthier.config import Settings, load_settings
from luthier.datasets import estimate
from luthier.datasets.training_file import read_examples, read_pairs
from luthier.domain.hyperparameters import Objective
from luthier.domain.job import Job, Status
from luthier.errors import ConflictError, LuthierError, NotFoundError
from luthier.executors import tracking
from luthier.executors.deaths import reason
from luthier.executors.finish import drop_models, finish
from luthier.executors.parents import find_parent
from luthier.executors.story import Story
from luthier.executors.watch import Watch
from luthier.modeling.bases import BaseStore
from luthier.modeling.chat_template import ChatTemplate
from luthier.modeling.loader import BaseModel, compute_dtype, load_base
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore, event
from luthier.storage.models import TunedModelStore
from luthier.training import defaults
from luthier.training.loop import train
from luthier.training.progress import Progress, StartedAgain

logger = logging.getLogger(__name__)

LOCK_NAME = "worker.lock"
_LOCK_SECONDS = 60.0
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def run(job_id: str, settings: Settings, pipe: int) -> int:
    """Train a job, or go on with it, and bring it to an end in the store.

    A job that fails is marked so, with a reason for its owner. A worker that is told to stop because the server is
    gone leaves the job as it is.

    Args:
        pipe: file descriptor that ends when the server does.

    Returns:
        The exit status of the process: 0, or 1 when the job failed.
    """
    database = Database.open(settings)
    jobs = JobStore(database)
    run_dir = settings.runs_dir / job_id
    run_dir.mkdir(parents=True, exist_ok=True)
    watch = Watch(jobs, job_id, pipe)
    try:
        with FileLock(run_dir / LOCK_NAME, timeout=_LOCK_SECONDS):
            job = jobs.get(job_id)
            if job.status is not Status.RUNNING:
                logger.info("%s is %s: nothing to do", job_id, job.status)
                return 0
            watch.start()
            return _attempt(job, settings, jobs, database, watch)
    except Timeout:
        return _fail(jobs, job_id, "Another process still trains this job; it did not stop in time.")
    finally:
        watch.close()
        database.close()


def _attempt(job: Job, settings: Settings, jobs: JobStore, database: Database, watch: Watch) -> int:
    """Train, and turn every way in which that can fail into words."""
    try:
        _train(job, settings, jobs, database, watch)
    except ConflictError as error:  # it was cancelled or taken up elsewhere at the last moment
        logger.warning("%s", error.message)
    except LuthierError as error:
        logger.exception("the job failed")
        return _fail(jobs, job.id, error.message)
    except Exception as error:  # the boundary of the process: the owner gets a reason, the log the trace
        logger.exception("the job failed")
        return _fail(jobs, job.id, reason(error))
    return 0


def _train(job: Job, settings: Settings, jobs: JobStore, database: Database, watch: Watch) -> None:
    models = TunedModelStore(database)
    story = Story(jobs, job.id, settings.progress_seconds)
    bases = BaseStore(settings)
    parent = find_parent(job.model, settings, models, bases)
    local = bases.ensure(job.base or parent.base, story.pull)
    if job.base is None:
        jobs.transition(job.id, base=local.key)
    if local.note is not None:
        story.note(local.note, key="base")
    base = load_base(parent.weights or local.path, compute_dtype())
    read = _reader(job, settings, FileStore(database), base, ChatTemplate.of(local.path))
    examples, valid = read(job.training_file), read(job.validation_file)
    resolved = job.resolved or defaults.resolve(job.hyperparameters, n_examples=len(examples), parent_rank=parent.rank)
    if job.resolved is None:
        jobs.transition(job.id, resolved=resolved)
    story.choices(job.hyperparameters, resolved)
    if resolved.objective is Objective.DPO:
        story.note("Measuring all outputs by the model that training starts from", key="reference")
    with tracking.follow(job, resolved, settings, story.note) as track:

        def emit(progress: Progress) -> None:
            if isinstance(progress, StartedAgain):
                drop_models(job.id, settings)
            story.tell(progress)
            track(progress)

        result = train(
            base,
            examples,
            valid,
            resolved,
            run_dir=settings.runs_dir / job.id,
            base_rate=local.entry.learning_rate[resolved.method],
            emit=emit,
            should_stop=watch.should_stop,
            micro_batch_tokens=settings.train_tokens,
            checkpoint_seconds=settings.checkpoint_seconds,
            parent=parent.adapter,
        )
    if result.finished:
        finish(job, result, local.key, parent.weights, settings, jobs, models)
        rate = story.tokens_per_second()
        if rate is not None and resolved.objective is Objective.SUPERVISED:  # which estimates are for
            estimate.record_rate(settings.home / estimate.RATES_FILE, local.key, resolved.method, rate)
    elif watch.asked:
        watch.settle()


def _reader(
    job: Job, settings: Settings, files: FileStore, base: BaseModel, template: ChatTemplate | None
) -> Callable[[str | None], list[Any]]:
    """Reads a file of the job as tokens, in the form that its objective learns from; no file is an empty list.

    The reader raises DataError: lines are longer than the base's context, or one cannot be used; file and lines are
    named.
    """
    read = read_pairs if job.hyperparameters.objective is Objective.DPO else read_examples

    def reader(file_id: str | None) -> list[Any]:
        if file_id is None:
            return []
        path = Blobs(settings).path(file_id)
        name = f"{files.get(file_id).filename} ({file_id})"
        return list(read(path, base.tokenizer, base.context_length, template, name=name))

    return reader


def _fail(jobs: JobStore, job_id: str, why: str) -> int:
    try:
        jobs.transition(job_id, event(f"Fine-tune failed. {why}", level="error"), status=Status.FAILED, error=why)
    except (ConflictError, NotFoundError):
        logger.warning("%s came to another end", job_id)
    return 1


def _volunteer_for_memory() -> None:
    """Where the system is Linux and short of memory, let it end this process before the server."""
    with contextlib.suppress(OSError):
        _OOM_SCORE.write_text("1000", encoding="ascii")


def main() -> int:
    """Entry point of the process."""
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Ctrl-C in a terminal reaches the whole group; the server decides what becomes of its worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _volunteer_for_memory()
    return run(sys.argv[1], load_settings(), sys.stdin.fileno())


if __name__ == "__main__":
    sys.exit(main())
