"""A model that a request can name."""

from dataclasses import dataclass

from luthier.domain.hyperparameters import Method
from luthier.domain.job import DEFAULT_ORGANIZATION


@dataclass(frozen=True)
class TunedModel:
    """What a finished fine-tune left, under `tuned_dir / folder`.

    Args:
        id: its name, such as `ada:ft-personal-2023-03-14-18-36-10`.
        root: the base as the catalogue resolves it (its weights' key), which must be resident to serve it.
        parent: the model it was tuned from, as the user named it: a base's alias or another tuned model.
        method: an adapter on the root, or whole weights of its own.
        folder: name of its folder inside `tuned_dir`.
        base_folder: name of the folder inside `tuned_dir` whose whole weights an adapter was tuned on and needs; None
            for the root's own.
        job_id: the fine-tune that made it.
        step: the checkpoint's step for a checkpoint that can be called, None for the final model.
        organization: whose job made it.
        created_at: Unix seconds.
    """

    id: str
    root: str
    parent: str
    method: Method
    folder: str
    job_id: str
    created_at: int
    step: int | None = None
    organization: str = DEFAULT_ORGANIZATION
    base_folder: str | None = None
