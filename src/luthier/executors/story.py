"""A run's progress, told as the events of its job."""

import time
from collections.abc import Callable
from dataclasses import asdict

from luthier.catalogue.pull import PullProgress, Stage
from luthier.domain.hyperparameters import Hyperparameters, Objective, ResolvedHyperparameters
from luthier.storage.jobs import JobStore, event
from luthier.training.progress import CheckpointSaved, EpochDone, Progress, StartedAgain, StepDone

_MEGABYTE = 1_000_000
_STAGES = {
    Stage.WAIT: "another process is pulling them",
    Stage.DOWNLOAD: "downloading",
    Stage.VERIFY: "comparing the checksum",
    Stage.CONVERT: "converting, once for all",
}
_CHOSEN = ("n_epochs", "batch_size", "learning_rate_multiplier", "prompt_loss_weight", "beta", "lora_rank", "seed")


class Story:
    """Tells the events of one run, and measures its speed.

    Args:
        progress_seconds: least time between two events of progress.
        clock: seconds that only go forward.
    """

    def __init__(
        self, jobs: JobStore, job_id: str, progress_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._progress_seconds = progress_seconds
        self._clock = clock
        self._told_at = -float("inf")
        self._first: tuple[float, int] | None = None  # when, tokens so far
        self._last: tuple[float, int] | None = None

    def note(self, message: str, *, key: str | None = None, level: str = "info") -> None:
        """Tell of something; with a key only once for a job, however often its run is resumed."""
        self._jobs.add_event(self._job_id, event(message, level=level), key)

    def pull(self, progress: PullProgress) -> None:
        """Tell how far the pull of the base's weights is."""
        if self._is_time():
            total = f" of {progress.total / _MEGABYTE:,.0f}" if progress.total is not None else ""
            amount = f", {progress.done / _MEGABYTE:,.0f}{total} MB" if progress.done else ""
            self.note(f"Pulling the base's weights, {progress.what}: {_STAGES[progress.stage]}{amount}")

    def choices(self, asked: Hyperparameters, used: ResolvedHyperparameters) -> None:
        """Tell which hyperparameters were chosen because the owner left them open."""
        wanted, chosen = asdict(asked), asdict(used)
        foreign = "prompt_loss_weight" if used.objective is Objective.DPO else "beta"
        names = [name for name in _CHOSEN if wanted[name] is None and name != foreign]
        open_ones = [f"{name} {chosen[name]:g}" for name in names]
        if open_ones:
            self.note(f"Chosen automatically: {', '.join(open_ones)}", key="hyperparameters")

    def tell(self, progress: Progress) -> None:
        """Receive what training emits."""
        if isinstance(progress, EpochDone):
            message = f"Completed epoch {progress.epoch}/{progress.n_epochs}"
            self.note(message, key=f"epoch-{progress.epoch}")
        elif isinstance(progress, CheckpointSaved):
            self._jobs.transition(self._job_id, checkpoint_step=progress.step)
        elif isinstance(progress, StartedAgain):
            told = (
                f"The checkpoint after step {progress.step} was made with another version of the server or of the base "
                "(its weights, learning rate or number format), so the job starts again from its beginning"
            )
            self._jobs.transition(self._job_id, event(told, level="warn"), checkpoint_step=None)
        elif isinstance(progress, StepDone):
            self._step(progress)

    def tokens_per_second(self) -> float | None:
        """Measured between the first and the last step of this process; None with fewer than two steps."""
        if self._first is None or self._last is None or self._last[0] <= self._first[0]:
            return None
        return (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])

    def _step(self, progress: StepDone) -> None:
        row = progress.row
        self._last = (self._clock(), row.elapsed_tokens)
        self._first = self._first or self._last
        if not self._is_time():
            return
        message = (
            f"Step {row.step}/{progress.n_steps}: loss {row.training_loss:.4f}, {duration(progress.seconds_left)} left"
        )
        data: dict[str, float | None] = {
            "step": row.step,
            "total_steps": progress.n_steps,
            "epoch": progress.epoch,
            "train_loss": row.training_loss,
            "train_mean_token_accuracy": row.training_token_accuracy,
            "seconds_left": round(progress.seconds_left, 1),
        }
        if row.validation_loss is not None:
            data |= {"valid_loss": row.validation_loss, "valid_mean_token_accuracy": row.validation_token_accuracy}
        data |= row.rewards
        self._jobs.add_event(self._job_id, event(message, data=data))

    def _is_time(self) -> bool:
        now = self._clock()
        if now - self._told_at < self._progress_seconds:
            return False
        self._told_at = now
        return True


def duration(seconds: float) -> str:
    """Seconds in words: `40 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
