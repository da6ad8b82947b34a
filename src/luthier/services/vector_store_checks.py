"""What has to be so before something is done with a vector store or put into it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luthier.domain.file import Purpose
from luthier.domain.filters import Scalar
from luthier.domain.names import ATTEMPT_PREFIX, new_id
from luthier.domain.vector_store import Chunking, StoredFile, VectorStore, stored_id
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.services.metadata import check_attributes
from luthier.storage.files import FileStore
from luthier.storage.vector_stores import VectorStoreStore

_PURPOSES = (Purpose.ASSISTANTS, Purpose.USER_DATA)


@dataclass(frozen=True)
class PutFile:
    """A file to be put into a store."""

    file_id: str
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    chunking: Chunking = field(default_factory=Chunking)


def live_store(stores: VectorStoreStore, store_id: str) -> VectorStore:
    """The store of that id.

    Raises:
        NotFoundError: there is no such store.
        InvalidRequestError: it has expired.
    """
    store = stores.get(store_id)
    if store.is_expired(time.time()):
        days = store.expires_days
        why = "is being deleted" if days is None else f"has expired after {days} days without use"
        raise InvalidRequestError(
            f"The vector store {store_id} {why}. Make a new one.",
            param="vector_store_id",
            code="vector_store_expired",
        )
    return store


def files_to_store(
    files: FileStore, store_id: str, put: Sequence[PutFile], param: str, batch_id: str | None = None
) -> list[StoredFile]:
    """The records of files that are put into a store together.

    Args:
        param: the request's field that names them.

    Raises:
        InvalidRequestError: a file is named twice, there is none of that id, it is not for this, or its attributes do
            not fit.
    """
    seen: set[str] = set()
    for file in put:
        if file.file_id in seen:
            raise InvalidRequestError(f"{file.file_id} is named twice.", param=param)
        seen.add(file.file_id)
    return [_file_to_store(files, store_id, file, param, batch_id) for file in put]


def _file_to_store(files: FileStore, store_id: str, file: PutFile, param: str, batch_id: str | None) -> StoredFile:
    """
    Raises:
        InvalidRequestError: no such file, one that is not for this, or attributes that do not fit.
    """
    check_attributes(file.attributes)
    try:
        uploaded = files.get(file.file_id)
    except NotFoundError:
        raise InvalidRequestError(f"There is no file {file.file_id}; it may have been deleted.", param=param) from None
    if uploaded.purpose not in _PURPOSES:
        raise InvalidRequestError(
            f"{file.file_id} has the purpose '{uploaded.purpose}'; files for vector stores have "
            f"'{_PURPOSES[0]}' or '{_PURPOSES[1]}'.",
            param=param,
        )
    return StoredFile(
        stored_id(store_id, file.file_id),
        store_id,
        file.file_id,
        int(time.time()),
        file.chunking.max_tokens,
        file.chunking.overlap_tokens,
        new_id(ATTEMPT_PREFIX),
        attributes=dict(file.attributes),
        batch_id=batch_id,
    )
