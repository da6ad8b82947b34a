"""Answers the requests of batches: a thread with an event loop of its own, a few requests at once.

Nothing of its state matters: what is to be done stands in the store and in each batch's answer log, so it may die at
any moment and goes on where it was.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from luthier.config import Settings
from luthier.datasets.batch_file import BatchRequest, check_batch_file, read_requests
from luthier.domain.batch import Batch, BatchStatus
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.names import batch_file_id
from luthier.domain.priority import BACKGROUND
from luthier.errors import ConflictError
from luthier.services.batch_answers import Answer, Endpoint, answer, expired
from luthier.storage.answers import AnswerLog, journal_of
from luthier.storage.batches import FILE_KINDS, BatchStore
from luthier.storage.blobs import Blobs

logger = logging.getLogger(__name__)

_MAX_RUNNING = 8  # batches at once; they share the requests that are answered at once
_TICK_SECONDS = 0.5  # between two looks at the clock and at the owner's wishes
_IDLE_SECONDS = 60.0  # a batch that another process has made is found this late at most
_RETRY_SECONDS = 5.0
_STOP_SECONDS = 20.0


class BatchRunner:
    """Takes batches to their end.

    Args:
        endpoints: path → what answers a request's body. Called on the runner's own event loop.
        check_model: raises one of our errors for a name that no endpoint knows.
    """

    def __init__(
        self,
        settings: Settings,
        batches: BatchStore,
        blobs: Blobs,
        endpoints: Mapping[str, Endpoint],
        check_model: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._batches = batches
        self._blobs = blobs
        self._endpoints = endpoints
        self._check_model = check_model
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._ready = threading.Event()
        self._running: set[str] = set()  # ids of the batches that are taken care of

    def start(self) -> None:
        """Take up the batches that are not over, also those that a server before this one left."""
        self._settings.batches_dir.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._ready.wait()

    def wake(self) -> None:
        """There is a new batch, or one to be cancelled. From any thread."""
        self._loop.call_soon_threadsafe(self._news.set)

    def stop(self) -> None:
        """Drop the requests that are being answered, which leaves them to be gone on with. Returns within seconds."""
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        BACKGROUND.set(True)
        main = asyncio.current_task()
        assert main is not None
        self._main, self._loop, self._news = main, asyncio.get_running_loop(), asyncio.Event()
        self._slots = asyncio.Semaphore(self._settings.batch_concurrency)
        self._ready.set()
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                for batch in await asyncio.to_thread(self._waiting):
                    self._running.add(batch.id)
                    group.create_task(self._take(batch))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):  # Python 3.11's `wait_for` may swallow being cancelled
                        await self._news.wait()

    def _waiting(self) -> list[Batch]:
        """The batches to be begun now. One that is to be cancelled need not wait for others to end."""
        try:
            waiting = [batch for batch in self._batches.unfinished() if batch.id not in self._running]
        except Exception:  # the thread must outlive a locked database
            logger.exception("The batches cannot be listed; the next look is in %g s", _IDLE_SECONDS)
            return []
        cancelled = [batch for batch in waiting if batch.status is BatchStatus.CANCELLING]
        others = [batch for batch in waiting if batch.status is not BatchStatus.CANCELLING]
        return cancelled + others[: max(_MAX_RUNNING - len(self._running), 0)]

    async def _take(self, batch: Batch) -> None:
        """Take one batch to its end."""
        try:
            await self._process(batch)
        except Exception:  # the boundary of one batch: the thread outlives a full disk or a locked database
            logger.exception("%s met an error; it goes on in %g s", batch.id, _RETRY_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._running.discard(batch.id)
            self._news.set()

    async def _process(self, batch: Batch) -> None:
        if batch.status is BatchStatus.VALIDATING:
            batch = await asyncio.to_thread(self._validate, batch)
        if batch.status.is_final:
            return
        with await asyncio.to_thread(self._open_log, batch) as log:
            end = await self._answer_until_end(batch, log)
        await asyncio.to_thread(self._finish, batch, end)  # goes on to its end even when the server stops meanwhile

    def _open_log(self, batch: Batch) -> AnswerLog:
        output, errors = (self._blobs.growing(batch_file_id(batch.id, kind)) for kind in FILE_KINDS)
        return AnswerLog(journal_of(self._settings, batch.id), output, errors)

    def _validate(self, batch: Batch) -> Batch:
        """Look at the file, and let the batch run or fail."""
        report = check_batch_file(
            self._blobs.path(batch.input_file),
            max_line_bytes=self._settings.max_line_bytes,
            endpoints=[batch.endpoint],
            check_model=self._check_model,
        )
        try:
            if not report.ok:
                return self._batches.update(batch.id, status=BatchStatus.FAILED, errors=report.errors)
            return self._batches.update(
                batch.id, status=BatchStatus.IN_PROGRESS, total=report.n_requests, model=report.model
            )
        except ConflictError:  # it has been cancelled meanwhile
            return self._batches.get(batch.id)

    async def _answer_until_end(self, batch: Batch, log: AnswerLog) -> BatchStatus:
        """Answer what is left until all is done, the owner cancels, or the time is over; says which."""
        if batch.status is BatchStatus.CANCELLING:
            return BatchStatus.CANCELLED
        work = asyncio.create_task(self._answer_all(batch, log))
        try:
            while True:
                done, _ = await asyncio.wait({work}, timeout=_TICK_SECONDS)
                batch = await asyncio.to_thread(self._save_progress, batch, log)
                if batch.status is BatchStatus.CANCELLING:
                    return BatchStatus.CANCELLED
                if done:
                    work.result()
                    return BatchStatus.COMPLETED
                if time.time() >= batch.expires_at:
                    return BatchStatus.EXPIRED
        finally:
            work.cancel()
            await asyncio.wait({work})

    def _save_progress(self, batch: Batch, log: AnswerLog) -> Batch:
        """Make the answers so far safe and their number known. Returns the batch as its owner wants it now."""
        log.sync()
        return self._batches.update(batch.id, **_counts(log))

    async def _answer_all(self, batch: Batch, log: AnswerLog) -> None:
        requests = read_requests(self._blobs.path(batch.input_file), self._settings.max_line_bytes, log.done)
        async with asyncio.TaskGroup() as group:
            for request in requests:
                await self._slots.acquire()
                answering = group.create_task(self._answer(batch, request, log))
                answering.add_done_callback(lambda _: self._slots.release())

    async def _answer(self, batch: Batch, request: BatchRequest, log: AnswerLog) -> None:
        _keep(log, request, await answer(batch.id, request, self._endpoints[batch.endpoint]))

    def _finish(self, batch: Batch, end: BatchStatus) -> None:
        """Give the owner the files, and the batch its last status."""
        if end is BatchStatus.COMPLETED:
            try:
                self._batches.update(batch.id, status=BatchStatus.FINALIZING)
            except ConflictError:  # it has been cancelled at the last moment
                end = BatchStatus.CANCELLED
        n_expired = 0
        with self._open_log(batch) as log:
            if end is BatchStatus.EXPIRED:
                path = self._blobs.path(batch.input_file)
                for request in read_requests(path, self._settings.max_line_bytes, log.done):
                    log.note(expired(batch.id, request))
                    n_expired += 1
            log.sync()
        files = {kind: file for kind in FILE_KINDS if (file := self._file(batch, kind)) is not None}
        self._batches.finish(
            batch.id,
            files.values(),
            status=end,
            output_file=files["output"].id if "output" in files else None,
            error_file=files["errors"].id if "errors" in files else None,
            **_counts(log) | {"failed": log.failed + n_expired},
        )
        if end is BatchStatus.COMPLETED:  # the others may be resumed
            journal_of(self._settings, batch.id).unlink()

    def _file(self, batch: Batch, kind: str) -> File | None:
        """The record of one of a batch's files. An empty one is removed."""
        file_id = batch_file_id(batch.id, kind)
        size = self._blobs.path(file_id).stat().st_size
        if not size:
            self._blobs.delete(file_id)
            return None
        name, now = f"{batch.id}_{kind}.jsonl", int(time.time())
        return File(file_id, name, Purpose.BATCH_OUTPUT, size, now, FileStatus.PROCESSED)


def _keep(log: AnswerLog, request: BatchRequest, made: Answer) -> None:
    log.add(request.number, made.line, ok=made.ok, input_tokens=made.input_tokens, output_tokens=made.output_tokens)


def _counts(log: AnswerLog) -> dict[str, int]:
    """What a batch says of its answers."""
    return {
        "completed": log.completed,
        "failed": log.failed,
        "input_tokens": log.input_tokens,
        "output_tokens": log.output_tokens,
    }
