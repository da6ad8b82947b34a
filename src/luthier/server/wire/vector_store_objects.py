"""Vector stores, their files and what was found in them, as answers say it."""

from typing import Annotated, Literal, Self

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from luthier.domain.vector_store import FileCounts, FoundPiece, StoredFile, StoredStatus, StoreStatus
from luthier.server.wire.base import Answer
from luthier.services.vector_store_files import BatchView
from luthier.services.vector_stores import StoreView


def _plain(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """One sentence for what is none of several kinds."""
    try:
        return read(value)
    except ValidationError:
        raise ValueError("must be a text, a finite number, or true or false") from None


Value = Annotated[bool | int | float | str, WrapValidator(_plain)]
AttributeValues = dict[str, Value]


class FileCountsObject(Answer):
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int

    @classmethod
    def of(cls, counts: FileCounts) -> Self:
        return cls.model_validate(counts, from_attributes=True)


class ExpiresAfter(Answer):
    anchor: Literal["last_active_at"] = "last_active_at"
    days: int


class VectorStoreObject(Answer):
    object: Literal["vector_store"] = "vector_store"
    id: str
    name: str
    description: str | None
    status: StoreStatus
    usage_bytes: int
    file_counts: FileCountsObject
    metadata: dict[str, str]
    created_at: int
    last_active_at: int
    expires_after: ExpiresAfter | None
    expires_at: int | None

    @classmethod
    def of(cls, view: StoreView) -> Self:
        store = view.store
        return cls(
            id=store.id,
            name=store.name,
            description=store.description,
            status=view.status,
            usage_bytes=view.usage_bytes,
            file_counts=FileCountsObject.of(view.counts),
            metadata=store.metadata,
            created_at=store.created_at,
            last_active_at=store.last_active_at,
            expires_after=None if store.expires_days is None else ExpiresAfter(days=store.expires_days),
            expires_at=store.expires_at,
        )


class VectorStoreDeleted(Answer):
    object: Literal["vector_store.deleted"] = "vector_store.deleted"
    id: str
    deleted: Literal[True] = True


class StoredFileDeleted(Answer):
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
    id: str
    deleted: Literal[True] = True


class LastError(Answer):
    code: str
    message: str


class StaticSizes(Answer):
    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class StaticChunking(Answer):
    type: Literal["static"] = "static"
    static: StaticSizes


class StoredFileObject(Answer):
    object: Literal["vector_store.file"] = "vector_store.file"
    id: str
    vector_store_id: str
    status: StoredStatus
    usage_bytes: int
    attributes: AttributeValues
    chunking_strategy: StaticChunking
    last_error: LastError | None
    created_at: int

    @classmethod
    def of(cls, file: StoredFile) -> Self:
        error = None if file.error_code is None else LastError(code=file.error_code, message=file.error_message or "")
        sizes = StaticSizes(max_chunk_size_tokens=file.max_tokens, chunk_overlap_tokens=file.overlap_tokens)
        return cls(
            id=file.file_id,
            vector_store_id=file.store_id,
            status=file.status,
            usage_bytes=file.usage_bytes,
            attributes=file.attributes,
            chunking_strategy=StaticChunking(static=sizes),
            last_error=error,
            created_at=file.created_at,
        )


class FileBatchObject(Answer):
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    id: str
    vector_store_id: str
    status: StoredStatus
    file_counts: FileCountsObject
    created_at: int

    @classmethod
    def of(cls, view: BatchView) -> Self:
        return cls(
            id=view.batch.id,
            vector_store_id=view.batch.store_id,
            status=view.status,
            file_counts=FileCountsObject.of(view.counts),
            created_at=view.batch.created_at,
        )


class TextContent(Answer):
    type: Literal["text"] = "text"
    text: str


class FileContentPage(Answer):
    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[TextContent]
    has_more: Literal[False] = False
    next_page: None = None


class SearchResultObject(Answer):
    file_id: str
    filename: str
    score: float
    attributes: AttributeValues
    content: list[TextContent]

    @classmethod
    def of(cls, found: FoundPiece) -> Self:
        return cls(
            file_id=found.file_id,
            filename=found.filename,
            score=found.score,
            attributes=dict(found.attributes),
            content=[TextContent(text=found.text)],
        )


class SearchResultsPage(Answer):
    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResultObject]
    has_more: Literal[False] = False
    next_page: None = None
