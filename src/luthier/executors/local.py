"""Jobs on this machine: one trainer at a time, a process that a thread of the server starts and judges."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from luthier.config import Settings
from luthier.domain.job import Job, Status
from luthier.errors import ConfigError, ConflictError, NotFoundError
from luthier.executors.deaths import describe_death
from luthier.executors.environment import worker_environment
from luthier.executors.finish import LOG_NAME, clean, forget, sweep
from luthier.storage.jobs import JobStore, event

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "luthier.executors.worker")
_IDLE_SECONDS = 60.0  # a job that another process has put into the queue is found this late at most
_RETRY_SECONDS = 5.0


class LocalExecutor:
    """Takes jobs from the queue and has them trained.

    Nothing of its state matters: what is to be done stands in the store, so it may die at any moment.

    Args:
        stop_seconds: how long a trainer may take to stop by itself when the server stops.
        command: starts a trainer when a job's id is added to it.
    """

    def __init__(
        self, settings: Settings, jobs: JobStore, *, stop_seconds: float = 20.0, command: Sequence[str] = _COMMAND
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._stop_seconds = stop_seconds
        self._command = command
        self._lock = FileLock(settings.home / "executor.lock", timeout=0, thread_local=False)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._loop, name="executor", daemon=True)

    def start(self) -> None:
        """Take up the queue, and first the jobs that a server before this one left running.

        Raises:
            ConfigError: another server runs the jobs of this home.
        """
        self._settings.home.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise ConfigError(
                f"Another server already runs the jobs of {self._settings.home}. "
                "Use that one, stop it, or set LUTHIER_HOME to another folder."
            ) from None
        self._thread.start()

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def stop(self) -> None:
        """Stop the trainer, which leaves its job to be gone on with, and the thread. Returns within a bounded time."""
        with self._starting:
            self._stopping.set()
            self._wake.set()
        if self._process is not None:
            self._end(self._process)
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()

    def _loop(self) -> None:
        left_over = True  # RUNNING jobs of which nobody takes care
        while not self._stopping.is_set():
            try:
                if left_over:
                    self._take_up()
                    left_over = False
                self._wake.clear()
                job = self._jobs.claim_next()
                if job is not None:
                    self._train(job)
                elif not self._stopping.is_set():  # it may have been set just before `clear`
                    self._wake.wait(_IDLE_SECONDS)
            except Exception:  # the thread must outlive a full disk or a locked database
                logger.exception("the executor met an error; it tries again in %g s", _RETRY_SECONDS)
                left_over = True
                self._stopping.wait(_RETRY_SECONDS)

    def _take_up(self) -> None:
        """Put the jobs back into the queue that run no more, and clear away what jobs left that are over or gone."""
        for job in self._jobs.list(status=Status.RUNNING).items:
            if job.cancel_requested or job.pause_requested:
                self._jobs.settle(job.id)
            else:
                where = "from its beginning" if job.checkpoint_step is None else f"after step {job.checkpoint_step}"
                told = event(f"The server was started again; the job goes on {where}", level="warn")
                self._jobs.transition(job.id, told, status=Status.QUEUED)
        jobs = self._jobs.list().items
        for job in jobs:
            if job.status.is_final:
                clean(job, self._settings)
        sweep(jobs, self._jobs.model_folders(), self._settings)

    def _train(self, job: Job) -> None:
        """Have one job trained, and see to it that it comes to an end or back into the queue."""
        run_dir = self._settings.runs_dir / job.id
        run_dir.mkdir(parents=True, exist_ok=True)
        environment = worker_environment(self._settings, os.environ)  # may try an allocator, for which nobody waits
        with (run_dir / LOG_NAME).open("ab") as log:
            with self._starting:
                if self._stopping.is_set():
                    return
                try:
                    self._process = subprocess.Popen(
                        [*self._command, job.id],
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        start_new_session=True,  # Ctrl-C in a terminal is for the server alone
                    )
                except OSError as error:
                    self._fail(job, f"The training process could not be started: {error}")
                    return
            try:
                self._process.wait()
            finally:
                self._end(self._process)
        code = self._process.returncode
        asked = code in (-signal.SIGINT, -signal.SIGTERM) and self._stopping.wait(self._stop_seconds)
        if not asked and not self._stopping.is_set():
            # A service manager that stops us sends the signal to our trainer too, and it may end before we do.
            self._judge(job, code, run_dir / LOG_NAME)

    def _judge(self, before: Job, exit_code: int, log: Path) -> None:
        """Decide what becomes of a job whose trainer has ended.

        Args:
            before: the job as it was when the trainer was started.
        """
        try:
            job = self._jobs.get(before.id)
        except NotFoundError:  # deleted since its trainer marked it as over
            forget(before.id, self._settings)
            return
        if job.status is Status.RUNNING:
            death = describe_death(exit_code, log)
            if job.cancel_requested or job.pause_requested:
                self._jobs.settle(job.id)
            elif job.checkpoint_step is not None and job.checkpoint_step != before.checkpoint_step:
                told = event(f"{death} The job goes on after step {job.checkpoint_step}", level="warn")
                self._jobs.transition(job.id, told, status=Status.QUEUED)
            else:
                self._fail(job, death)
        job = self._jobs.get(before.id)
        if job.status.is_final:
            clean(job, self._settings)

    def _fail(self, job: Job, why: str) -> None:
        told = event(f"Fine-tune failed. {why}", level="error")
        try:
            self._jobs.transition(job.id, told, status=Status.FAILED, error=why)
        except ConflictError as error:
            logger.warning("%s", error.message)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End a trainer: ask by closing its standard input, then insist."""
        if process.stdin is not None:
            process.stdin.close()
        for insist in (process.terminate, process.kill):
            try:
                process.wait(self._stop_seconds)
                return
            except subprocess.TimeoutExpired:
                insist()
        process.wait()
