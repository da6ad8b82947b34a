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
    run = _begin(job, job.wandb, resolved, settings, note) if job.wandb is not None else None

    def tell(progress: Progress) -> None:
        if run is not None and isinstance(progress, StepDone):
            record = progress.row.record()
            run.log({name: value for name, value in record.items() if value is not None}, step=progress.row.step)

    try:
        yield tell
    except BaseException:
        if run is not None:
            run.finish(exit_code=1)
        raise
    if run is not None:
        run.finish()


def _begin(
    job: Job, wanted: WandbRun, resolved: ResolvedHyperparameters, settings: Settings, note: Callable[..., object]
) -> Any:
    """The run, or None where it cannot be begun; either way the job's events say so."""
    import wandb  # an extra

    folder = Path(os.environ.get("WANDB_DIR") or settings.home / _FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    used = {name: value for name, value in asdict(resolved).items() if value is not None}
    try:
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
    except wandb.errors.Error as error:
        note(f"Weights & Biases: {error}. The job goes on without it", level="warn", key="wandb")
        return None
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
