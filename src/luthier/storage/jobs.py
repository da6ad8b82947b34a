"""Jobs and their events. Each change of a job and the events that tell of it are one transaction."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from luthier.domain.file import File, FileStatus
from luthier.domain.job import Dialect, Event, Job, Status
from luthier.domain.model import TunedModel
from luthier.domain.names import EVENT_PREFIX, new_id
from luthier.domain.page import Page
from luthier.errors import ConflictError, InvalidRequestError
from luthier.storage.db import Database
from luthier.storage.files import FILES
from luthier.storage.models import MODELS
from luthier.storage.rows import Rows
from luthier.storage.schema import events, files, jobs, tuned_models

JOBS = Rows(jobs, Job, "fine-tune job", "fine_tune_id")
EVENTS = Rows(events, Event, "event", "after")


def event(message: str, *, level: str = "info", data: Mapping[str, Any] | None = None) -> Event:
    """An event of this moment; with `data` it is one of type metrics."""
    kind = "message" if data is None else "metrics"
    return Event(created_at=int(time.time()), level=level, message=message, type=kind, data=dict(data or {}))


class JobStore:
    """The queue, and the story of each job."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, job: Job, new_events: Iterable[Event] = ()) -> Job:
        """Put a job into the queue. Its last event says how many jobs are ahead of it.

        Raises:
            InvalidRequestError: one of its files has been deleted meanwhile.
        """
        with self._db.write() as connection:
            for param in ("training_file", "validation_file"):
                file_id = getattr(job, param)
                if file_id is not None and _deleted(connection, file_id):
                    raise InvalidRequestError(f"{file_id} has been deleted meanwhile.", param=param)
            JOBS.insert(connection, job)
            ahead = self._ahead(connection, job.id)
            self._tell(connection, job.id, [*new_events, event(f"Fine-tune enqueued. Queue number: {ahead}")])
        return job

    def get(self, job_id: str) -> Job:
        """
        Raises:
            NotFoundError: there is no such job.
        """
        with self._db.read() as connection:
            return JOBS.get(connection, job_id)

    def model_folders(self) -> set[str]:
        """Folders inside `tuned_dir` that a tuned model's record names."""
        with self._db.read() as connection:
            return set(connection.execute(select(tuned_models.c.folder)).scalars())

    def list(
        self,
        *,
        dialect: Dialect | None = None,
        status: Status | None = None,
        after: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[Job]:
        query = select(jobs)
        if dialect is not None:
            query = query.where(jobs.c.dialect == dialect)
        if status is not None:
            query = query.where(jobs.c.status == status)
        with self._db.read() as connection:
            return JOBS.page(connection, query, after=after, limit=limit, newest_first=newest_first, metadata=metadata)

    def transition(self, job_id: str, *new_events: Event, **changes: Any) -> Job:
        """Change a job and tell of it.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: its status cannot become that.
        """
        return self.finish(job_id, new_events, **changes)

    def finish(
        self,
        job_id: str,
        new_events: Iterable[Event] = (),
        *,
        files: Iterable[File] = (),
        models: Iterable[TunedModel] = (),
        **changes: Any,
    ) -> Job:
        """Change a job, tell of it, and record what it made, all of it or nothing.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: its status cannot become that, or a model's name is taken.
        """
        try:
            with self._db.write() as connection:
                job = self._evolve(connection, job_id, **changes)
                for file in files:
                    FILES.insert(connection, file)
                for model in models:
                    MODELS.insert(connection, model)
                self._tell(connection, job_id, new_events)
        except IntegrityError as error:
            raise ConflictError(f"Job {job_id} made something that is already there: {error.orig}") from error
        return job

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a waiting or paused job at once; ask a running one to stop, which its worker does within seconds.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it is over.
        """
        with self._db.write() as connection:
            job = self._unfinished(connection, job_id)
            if job.status is not Status.RUNNING:
                job = self._evolve(connection, job_id, status=Status.CANCELLED, cancel_requested=True)
                self._tell(connection, job_id, [event("Fine-tune cancelled")])
            elif not job.cancel_requested:
                job = self._evolve(connection, job_id, cancel_requested=True)
        return job

    def request_pause(self, job_id: str) -> Job:
        """Pause a waiting job at once; ask a running one to stop at a checkpoint, which its worker does within seconds.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it is over, paused already, or about to be cancelled.
        """
        with self._db.write() as connection:
            job = self._unfinished(connection, job_id)
            if job.status is Status.PAUSED:
                raise InvalidRequestError(f"Job is already paused: {job_id}. Resume it to let it go on.")
            if job.cancel_requested:
                raise InvalidRequestError(f"Job is being cancelled: {job_id}. It cannot be paused any more.")
            if job.status is Status.QUEUED:
                job = self._evolve(connection, job_id, status=Status.PAUSED)
                self._tell(connection, job_id, [event("Fine-tune paused")])
            elif not job.pause_requested:
                job = self._evolve(connection, job_id, pause_requested=True)
        return job

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue; take back a pause that has not happened yet.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it is not paused.
        """
        with self._db.write() as connection:
            job = self._unfinished(connection, job_id)
            if job.status is Status.PAUSED:
                job = self._evolve(connection, job_id, status=Status.QUEUED)
                where = "from its beginning" if job.checkpoint_step is None else f"after step {job.checkpoint_step}"
                ahead = self._ahead(connection, job_id)
                told = (f"Fine-tune resumed; it goes on {where}", f"Fine-tune enqueued. Queue number: {ahead}")
                self._tell(connection, job_id, [event(message) for message in told])
            elif job.pause_requested:
                job = self._evolve(connection, job_id, pause_requested=False)
            else:
                raise InvalidRequestError(f"Job is not paused: {job_id}. Its status is {job.status}.")
        return job

    def settle(self, job_id: str) -> Job:
        """Record that a running job has stopped because its owner wanted that.

        It becomes cancelled or paused, or goes back into the queue where the owner has changed their mind meanwhile.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it does not run.
        """
        with self._db.write() as connection:
            job = JOBS.get(connection, job_id, for_update=True)
            if job.status is not Status.RUNNING:
                raise ConflictError(f"Job {job_id} is {job.status}: it does not run.")
            if job.cancel_requested:
                status, message = Status.CANCELLED, "Fine-tune cancelled"
            elif job.pause_requested:
                step = job.checkpoint_step
                status, message = Status.PAUSED, "Fine-tune paused" + ("" if step is None else f" after step {step}")
            else:
                status, message = Status.QUEUED, "Fine-tune goes on: the pause was taken back"
            job = self._evolve(connection, job_id, status=status, pause_requested=False)
            self._tell(connection, job_id, [event(message)])
        return job

    def claim_next(self) -> Job | None:
        """Take the oldest waiting job into work, or None when none waits. Two callers never get the same."""
        query = select(jobs).where(jobs.c.status == Status.QUEUED).order_by(jobs.c.position).limit(1)
        with self._db.write() as connection:
            row = connection.execute(query.with_for_update(skip_locked=True)).mappings().one_or_none()
            if row is None:
                return None
            first_time = row["started_at"] is None
            job = self._evolve(connection, row["id"], status=Status.RUNNING)
            if first_time:
                self._tell(connection, job.id, [event("Fine-tune started")])
        return job

    def delete(self, job_id: str) -> None:
        """Forget a job that is over, and its events.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it waits, runs or is paused.
        """
        with self._db.write() as connection:
            job = JOBS.get(connection, job_id, for_update=True)
            if not job.status.is_final:
                raise InvalidRequestError(f"Job {job_id} is {job.status}. Cancel it first, then delete it.")
            JOBS.delete(connection, job_id)

    def add_event(self, job_id: str, new_event: Event, key: str | None = None) -> bool:
        """Tell of something.

        Args:
            key: tell it once: if the job has an event of that key, nothing happens.

        Returns:
            Whether the event is new.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._db.write() as connection:
            JOBS.get(connection, job_id, for_update=True)
            if key is not None:
                told = select(events.c.id).where(events.c.job_id == job_id, events.c.key == key)
                if connection.execute(told).first() is not None:
                    return False
            self._tell(connection, job_id, [new_event], key=key)
        return True

    def events(
        self, job_id: str, *, after: str | None = None, limit: int | None = None, newest_first: bool = False
    ) -> Page[Event]:
        """A job's story, in the order in which it was told.

        Args:
            after: id of the last event already known.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: `after` names no event.
        """
        with self._db.read() as connection:
            JOBS.get(connection, job_id)
            query = select(events).where(events.c.job_id == job_id)
            return EVENTS.page(connection, query, after=after, limit=limit, newest_first=newest_first)

    def last_progress(self, job_id: str) -> Event | None:
        """The newest event of type metrics of a job, None when it has none."""
        query = select(events).where(events.c.job_id == job_id, events.c.type == "metrics")
        with self._db.read() as connection:
            found = EVENTS.page(connection, query, limit=1, newest_first=True).items
        return found[0] if found else None

    def _unfinished(self, connection: Connection, job_id: str) -> Job:
        job = JOBS.get(connection, job_id, for_update=True)
        if job.status.is_final:
            raise InvalidRequestError(f"Job has already completed: {job_id}. Its status is {job.status}.")
        return job

    def _ahead(self, connection: Connection, job_id: str) -> int:
        """How many jobs run or will run before this one, which waits."""
        position = select(jobs.c.position).where(jobs.c.id == job_id).scalar_subquery()
        before = (jobs.c.status == Status.QUEUED) & (jobs.c.position < position)
        query = select(func.count()).where(before | (jobs.c.status == Status.RUNNING))
        return int(connection.execute(query).scalar_one())

    def _evolve(self, connection: Connection, job_id: str, **changes: Any) -> Job:
        now = int(time.time())
        old = JOBS.get(connection, job_id, for_update=True)
        job = old.evolve(**changes, updated_at=now)
        if job.status is Status.RUNNING and job.started_at is None:
            job = job.evolve(started_at=now)
        if job.status.is_final and not old.status.is_final:
            job = job.evolve(finished_at=now)
        JOBS.replace(connection, job_id, job)
        return job

    def _tell(self, connection: Connection, job_id: str, new_events: Iterable[Event], key: str | None = None) -> None:
        for one in new_events:
            EVENTS.insert(connection, replace(one, id=new_id(EVENT_PREFIX)), job_id=job_id, key=key)


def _deleted(connection: Connection, file_id: str) -> bool:
    query = select(files.c.id).where(files.c.id == file_id, files.c.status == FileStatus.DELETED)
    return connection.execute(query).first() is not None
