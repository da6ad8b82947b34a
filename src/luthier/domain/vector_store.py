"""Vector stores: uploaded files, cut into pieces and embedded, to be searched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from luthier.domain.filters import Scalar

DAY_SECONDS = 24 * 3600
MAX_FILES = 2_000  # of one batch


class StoreStatus(StrEnum):
    IN_PROGRESS = "in_progress"  # some file is still being embedded
    COMPLETED = "completed"
    EXPIRED = "expired"  # its vectors are gone


class StoredStatus(StrEnum):
    """Of a file in a store, and of a batch of files."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class FileProblem(StrEnum):
    SERVER_ERROR = "server_error"
    UNSUPPORTED_FILE = "unsupported_file"
    INVALID_FILE = "invalid_file"


@dataclass(frozen=True)
class Chunking:
    """How a file's text is cut.

    Args:
        max_tokens: of one piece, in cl100k_base.
        overlap_tokens: that a piece shares with the one before it; at most half of `max_tokens`.
    """

    max_tokens: int = 800
    overlap_tokens: int = 400


@dataclass(frozen=True)
class FileCounts:
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True)
class VectorStore:
    """
    Args:
        model: that embeds its pieces and its questions.
        expires_days: days without use after which it expires; None for never.
        created_at, last_active_at: Unix seconds.
        emptied: it has expired, and its vectors have been removed.
    """

    id: str
    name: str
    model: str
    created_at: int
    last_active_at: int
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    expires_days: int | None = None
    emptied: bool = False

    @property
    def expires_at(self) -> int | None:
        """Unix seconds."""
        return None if self.expires_days is None else self.last_active_at + self.expires_days * DAY_SECONDS

    def is_expired(self, now: float) -> bool:
        return self.emptied or (self.expires_at is not None and now >= self.expires_at)


@dataclass(frozen=True)
class StoredFile:
    """A file in a store.

    Args:
        id: of store and file together (`stored_id`).
        batch_id: the batch that put it there last.
        n_pieces: that are in the index.
        usage_bytes: of its pieces' texts and vectors.
        attributes: what filters of a search look at.
        attempt: which putting-in of the file this is. Its pieces bear it: those of an earlier one are told apart.
    """

    id: str
    store_id: str
    file_id: str
    created_at: int
    max_tokens: int
    overlap_tokens: int
    attempt: str
    status: StoredStatus = StoredStatus.IN_PROGRESS
    attributes: dict[str, Scalar] = field(default_factory=dict)
    batch_id: str | None = None
    n_pieces: int = 0
    usage_bytes: int = 0
    error_code: FileProblem | None = None
    error_message: str | None = None

    @property
    def chunking(self) -> Chunking:
        return Chunking(self.max_tokens, self.overlap_tokens)


@dataclass(frozen=True)
class FileBatch:
    """Files that were put into a store together."""

    id: str
    store_id: str
    created_at: int
    cancelled: bool = False


@dataclass(frozen=True)
class FoundPiece:
    """A piece of a file that a search has found.

    Args:
        score: cosine with the question, 0 to 1.
    """

    file_id: str
    filename: str
    score: float
    text: str
    attributes: Mapping[str, Scalar]


def stored_id(store_id: str, file_id: str) -> str:
    """Id of a file's record in a store."""
    return f"{store_id}/{file_id}"


def piece_id(attempt: str, number: int) -> str:
    """Id of a file's piece in the store's index."""
    return f"{attempt}#{number}"
