"""Who may stop a worker: its owner, by a word in the store, and the server that started it, by ending."""

import logging
import os
import threading
from collections.abc import Callable

from luthier.domain.job import Status
from luthier.errors import ConflictError, NotFoundError
from luthier.storage.jobs import JobStore

logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_GRACE_SECONDS = 10.0


class Watch:
    """Two threads beside the training.

    One reads the pipe that the server holds open: its end means that the server is gone, on every system. The other
    asks the store each second whether the job is to be cancelled or paused. Training looks at `should_stop`; when it
    does not stop in time, because it loads or pulls, the process ends all the same: everything it does can be done
    again.

    Args:
        pipe: file descriptor of the worker's standard input. Read without Python's buffer, whose lock a thread that
            waits for ever would hold when the process ends.
        end: ends the process at once.
    """

    def __init__(self, jobs: JobStore, job_id: str, pipe: int, *, end: Callable[[int], object] = os._exit) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._pipe = pipe
        self._end = end
        self._over = threading.Event()
        self._stop = threading.Event()
        self.asked = False  # by the owner, to stop

    def should_stop(self) -> bool:
        return self._stop.is_set()

    def start(self) -> None:
        for target in (self._watch_server, self._watch_owner):
            threading.Thread(target=target, daemon=True, name=target.__name__).start()

    def close(self) -> None:
        """The run is over; from now on nothing ends the process."""
        self._over.set()

    def settle(self) -> None:
        """Mark the job as its owner wants it, unless it has come to another end."""
        try:
            self._jobs.settle(self._job_id)
        except (ConflictError, NotFoundError):
            pass
        except Exception:  # the server that judges this process's end does it then
            logger.exception("the job cannot be settled")

    def _watch_server(self) -> None:
        while os.read(self._pipe, 4096):
            pass
        self._stop.set()
        if not self._over.wait(_GRACE_SECONDS):
            self._end(1)

    def _watch_owner(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            try:
                job = self._jobs.get(self._job_id)
            except Exception:  # a store that is locked for long must not end the watch
                logger.exception("the job cannot be looked at")
                continue
            self.asked = job.cancel_requested or job.pause_requested
            if job.status is Status.RUNNING and not self.asked:
                continue
            self._stop.set()
            if not self._over.wait(_GRACE_SECONDS):
                if self.asked:
                    self.settle()
                self._end(0)
            return
