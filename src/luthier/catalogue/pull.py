"""What a pull tells its caller, and the checksum it insists on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from luthier.errors import WeightsError


class Stage(StrEnum):
    WAIT = "wait"  # another process pulls the same weights
    DOWNLOAD = "download"
    VERIFY = "verify"
    CONVERT = "convert"


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is.

    Args:
        stage: what it is doing.
        what: the file or weights it does it with.
        done, total: bytes; total is None where nothing can be counted.
    """

    stage: Stage
    what: str
    done: int = 0
    total: int | None = None


Report = Callable[[PullProgress], None]


def verify(path: Path, expected: str, report: Report) -> None:
    """Compare a file's SHA-256 with the expected one.

    Raises:
        WeightsError: they differ.
    """
    report(PullProgress(Stage.VERIFY, path.name))
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise WeightsError(
            f"{path.name} is not the file it should be: its SHA-256 is {actual}, expected {expected}. "
            "Nothing was kept. Pull again; if it stays so, the index, mirror or hub that this machine asks has another."
        )
