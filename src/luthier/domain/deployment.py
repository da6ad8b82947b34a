"""A model that is kept in memory under a name of one's own."""

import re
from dataclasses import dataclass
from enum import StrEnum

from luthier.errors import InvalidRequestError

DEPLOYMENT_PREFIX = "deployment-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ScaleType(StrEnum):
    STANDARD = "standard"
    MANUAL = "manual"  # with a capacity


class DeploymentStatus(StrEnum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Deployment:
    """
    Args:
        id: its name, given by its owner or `deployment-…`.
        model: what answers: an alias, a tuned model, `hf:owner/name` or a folder.
        capacity: as the owner gave it with `ScaleType.MANUAL`, None with the other.
        error: why the model could not be loaded, in words for the user.
        created_at, updated_at: Unix seconds.
    """

    id: str
    model: str
    scale_type: ScaleType
    capacity: int | None
    status: DeploymentStatus
    created_at: int
    updated_at: int
    error: str | None = None


def check_name(name: str) -> None:
    """
    Raises:
        InvalidRequestError: it cannot name a deployment.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"'{name}' cannot name a deployment. A name has 1 to 64 letters, digits, '.', '_' and '-', and begins with "
            "a letter or digit.",
            param="name",
        )
