"""A job's metrics at Weights & Biases, through the package `wandb`, which is an extra.

The run there bears the job's id, so that a job that was paused, or that a server's restart has interrupted, goes on in
the same run. What goes wrong there never ends a job: the results file holds every number all the same.
"""

import importlib.util
import netrc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.config import Settings
from luthier.domain.hyperparameters import ResolvedHyperparameters
from luthier.domain.job import Job, WandbRun
from luthier.errors import InvalidRequestError
from luthier.training.progress import Progress, StepDone

_HOST = "https://api.wandb.ai"
_WITHOUT_KEY = ("offline", "dryrun", "disabled")  # values of WANDB_MODE that send nothing
_MAX_TAG = 64  # characters
_FINISH_SECONDS = 60  # what cannot be sent by then stays on the disk, and the queue goes on
_FOLDER = "wandb"  # inside the home folder, unless WANDB_DIR names another


def check(run: WandbRun, environment: Mapping[str, str]) -> None:
    """Whether a job's metrics can be sent.

    Raises:
        InvalidRequestError: the package or the key is missing, or the run's settings cannot be.
    """
    if not run.project.strip() or any(character in run.project for character in "/\\#?%:"):
        raise InvalidRequestError(
            f"The project '{run.project}' cannot be at Weights & Biases: its name must not be empty nor hold any of "
            "/ \\ # ? % :",
            param="integrations[0].wandb.project",
        )
    if wrong := next((tag for tag in run.tags if not 0 < len(tag) <= _MAX_TAG), None):
        raise InvalidRequestError(
            f"The tag '{wrong}' cannot be at Weights & Biases: tags have 1 to 64 characters.",
            param="integrations[0].wandb.tags",
        )
    if importlib.util.find_spec("wandb") is None:
        raise InvalidRequestError(
            "This server has no package for Weights & Biases. Its operator can add it with `pip install "
            "'luthier[wandb]'`; leave integrations out until then.",
            param="integrations",
        )
    if not _has_key(environment):
        raise InvalidRequestError(
            "This server has no key for Weights & Biases. Its operator can set WANDB_API_KEY, or WANDB_MODE=offline to "
            "keep runs on this machine; leave integrations out until then.",
            param="integrations",
        )


@contextmanager
def follow(
    job: Job, resolved: ResolvedHyperparameters, settings: Settings, note: Callable[..., object]
) -> Iterator[Callable[[Progress], None]]:
    """Where a job's progress is to be told besides its events: to its run at Weights & Biases, if it wants one.

    Args:
        note: tells an event of the job; called with a message, and `level` or `key`.
    """
    run: Any = None

    def attempt(act: Callable[[], Any]) -> Any:
        nonlocal run
        try:
            return act()
        except Exception as error:  # the boundary of what is not ours: the package, its process, its host
            run = None
            reason = str(error).rstrip(".") or type(error).__name__
            note(f"Weights & Biases: {reason}. The job goes on without it", level="warn", key="wandb-lost")

    def tell(progress: Progress) -> None:
        if run is not None and isinstance(progress, StepDone):
            row = progress.row
            record = {name: value for name, value in row.record().items() if value is not None}
            attempt(lambda: run.log(record, step=row.step))

    def end(code: int) -> None:
        if run is not None:
            attempt(lambda: run.finish(exit_code=code))

    if job.wandb is not None:
        wanted = job.wandb
        run = attempt(lambda: _begin(job, wanted, resolved, settings, note))
    try:
        yield tell
    except BaseException:
        end(1)
        raise
    end(0)


def _begin(
    job: Job, wanted: WandbRun, resolved: ResolvedHyperparameters, settings: Settings, note: Callable[..., object]
) -> Any:
    """The run, of which the job's events tell."""
    import wandb  # an extra

    folder = Path(os.environ.get("WANDB_DIR") or settings.home / _FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    used = {name: value for name, value in asdict(resolved).items() if value is not None}
    run = wandb.init(
        project=wanted.project,
        entity=wanted.entity,
        name=wanted.name or job.id,
        tags=[*wanted.tags, "luthier", f"luthier/{job.model}"[-_MAX_TAG:], f"luthier/{job.id}"],
        id=job.id,
        resume="allow",
        dir=folder,
        settings={"finish_timeout": _FINISH_SECONDS},
        config={**job.metadata, **used, "model": job.model, "training_file": job.training_file},
    )
    note(f"Weights & Biases: {run.url or f'the run is kept in {folder}'}", key="wandb")
    return run


def _has_key(environment: Mapping[str, str]) -> bool:
    """Whether wandb will find a key, where it looks for one: its variables, and the user's netrc."""
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_MODE") in _WITHOUT_KEY:
        return True
    path = Path(environment.get("NETRC") or Path.home() / ".netrc")
    host = urlsplit(environment.get("WANDB_BASE_URL") or _HOST).hostname or ""
    try:
        return host in netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return False
