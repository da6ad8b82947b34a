"""An uploaded or produced file."""

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    FINE_TUNE = "fine-tune"
    RESULTS = "fine-tune-results"
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    ASSISTANTS = "assistants"  # for vector stores, as the next
    USER_DATA = "user_data"


UPLOADED_FOR = (Purpose.FINE_TUNE, Purpose.BATCH, Purpose.ASSISTANTS, Purpose.USER_DATA)
"""The purposes that clients may give; files of the others are made here."""


class FileStatus(StrEnum):
    UPLOADED = "uploaded"
    PROCESSED = "processed"
    ERROR = "error"
    DELETED = "deleted"  # its bytes are gone; jobs that used it still name it


@dataclass(frozen=True)
class File:
    """Metadata of a file; its bytes lie in the blob store under `id`.

    Args:
        bytes: size.
        status_details: what is wrong with it, line and field named, when `status` is error.
        created_at: Unix seconds.
    """

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created_at: int
    status: FileStatus = FileStatus.UPLOADED
    status_details: str | None = None
