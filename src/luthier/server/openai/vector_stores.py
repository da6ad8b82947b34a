"""/v1/vector_stores"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from luthier.domain.page import Page
from luthier.domain.vector_store import StoredFile, StoredStatus
from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf
from luthier.server.wire.base import CursorPage
from luthier.server.wire.vector_store_objects import (
    FileBatchObject,
    FileContentPage,
    SearchResultObject,
    SearchResultsPage,
    StoredFileDeleted,
    StoredFileObject,
    TextContent,
    VectorStoreDeleted,
    VectorStoreObject,
)
from luthier.server.wire.vector_stores import (
    CreateVectorStoreBody,
    FileBatchBody,
    PutFileBody,
    SearchBody,
    UpdateFileBody,
    UpdateVectorStoreBody,
)

router = APIRouter(prefix="/vector_stores", tags=["Vector stores"], route_class=JsonRoute)

After = Annotated[str | None, Query(description="Id of the last item already seen.")]
Before = Annotated[str | None, Query(description="Id of the first item already seen: the page before it.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items of one page.")]
Order = Annotated[Literal["asc", "desc"], Query(description="By the time of creation.")]
Status = Annotated[StoredStatus | None, Query(alias="filter", description="Only files of this status.")]


@router.post("")
def create_vector_store(body: CreateVectorStoreBody, services: ServicesOf) -> VectorStoreObject:
    """Make a vector store. Its files are embedded in the background."""
    return VectorStoreObject.of(services.vector_stores.create(body.to_domain()))


@router.get("")
def list_vector_stores(
    services: ServicesOf, after: After = None, before: Before = None, limit: Limit = 20, order: Order = "desc"
) -> CursorPage[VectorStoreObject]:
    page = services.vector_stores.list(after=after, before=before, limit=limit, newest_first=order == "desc")
    data = [VectorStoreObject.of(view) for view in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CursorPage(data=data, has_more=page.has_more, first_id=first, last_id=last)


@router.get("/{vector_store_id}")
def retrieve_vector_store(vector_store_id: str, services: ServicesOf) -> VectorStoreObject:
    return VectorStoreObject.of(services.vector_stores.get(vector_store_id))


@router.post("/{vector_store_id}")
def update_vector_store(vector_store_id: str, body: UpdateVectorStoreBody, services: ServicesOf) -> VectorStoreObject:
    """Change its name, metadata or expiry."""
    return VectorStoreObject.of(services.vector_stores.update(vector_store_id, **body.changes()))


@router.delete("/{vector_store_id}")
def delete_vector_store(vector_store_id: str, services: ServicesOf) -> VectorStoreDeleted:
    """Delete a vector store. The files that it was made of stay."""
    services.vector_stores.delete(vector_store_id)
    return VectorStoreDeleted(id=vector_store_id)


@router.post("/{vector_store_id}/search")
async def search_vector_store(vector_store_id: str, body: SearchBody, services: ServicesOf) -> SearchResultsPage:
    """Find the pieces of files that are nearest to a question."""
    found = await services.vector_store_search.search(vector_store_id, body.to_domain())
    return SearchResultsPage(search_query=body.queries, data=[SearchResultObject.of(one) for one in found])


@router.post("/{vector_store_id}/files")
def create_vector_store_file(vector_store_id: str, body: PutFileBody, services: ServicesOf) -> StoredFileObject:
    """Put a file into a vector store; one that is there already is cut and embedded anew."""
    return StoredFileObject.of(services.vector_store_files.put_file(vector_store_id, body.to_domain()))


@router.get("/{vector_store_id}/files")
def list_vector_store_files(
    vector_store_id: str,
    services: ServicesOf,
    after: After = None,
    before: Before = None,
    limit: Limit = 20,
    order: Order = "desc",
    status: Status = None,
) -> CursorPage[StoredFileObject]:
    page = services.vector_store_files.files(
        vector_store_id, after=after, before=before, limit=limit, newest_first=order == "desc", status=status
    )
    return _files(page)


@router.get("/{vector_store_id}/files/{file_id}")
def retrieve_vector_store_file(vector_store_id: str, file_id: str, services: ServicesOf) -> StoredFileObject:
    return StoredFileObject.of(services.vector_store_files.file(vector_store_id, file_id))


@router.post("/{vector_store_id}/files/{file_id}")
def update_vector_store_file(
    vector_store_id: str, file_id: str, body: UpdateFileBody, services: ServicesOf
) -> StoredFileObject:
    """Give a file other attributes; it is not embedded again."""
    return StoredFileObject.of(
        services.vector_store_files.set_attributes(vector_store_id, file_id, body.attributes or {})
    )


@router.delete("/{vector_store_id}/files/{file_id}")
def delete_vector_store_file(vector_store_id: str, file_id: str, services: ServicesOf) -> StoredFileDeleted:
    """Take a file out of a vector store. The file itself stays."""
    services.vector_store_files.remove_file(vector_store_id, file_id)
    return StoredFileDeleted(id=file_id)


@router.get("/{vector_store_id}/files/{file_id}/content")
def retrieve_vector_store_file_content(vector_store_id: str, file_id: str, services: ServicesOf) -> FileContentPage:
    """The text of a file, as it was read."""
    return FileContentPage(data=[TextContent(text=services.vector_store_files.content(vector_store_id, file_id))])


@router.post("/{vector_store_id}/file_batches")
def create_vector_store_file_batch(vector_store_id: str, body: FileBatchBody, services: ServicesOf) -> FileBatchObject:
    """Put several files into a vector store."""
    files, param = body.to_domain()
    return FileBatchObject.of(services.vector_store_files.put_files(vector_store_id, files, param))


@router.get("/{vector_store_id}/file_batches/{batch_id}")
def retrieve_vector_store_file_batch(vector_store_id: str, batch_id: str, services: ServicesOf) -> FileBatchObject:
    return FileBatchObject.of(services.vector_store_files.batch(vector_store_id, batch_id))


@router.post("/{vector_store_id}/file_batches/{batch_id}/cancel")
def cancel_vector_store_file_batch(vector_store_id: str, batch_id: str, services: ServicesOf) -> FileBatchObject:
    """Give up the files that are not embedded yet; those that are stay."""
    return FileBatchObject.of(services.vector_store_files.cancel_batch(vector_store_id, batch_id))


@router.get("/{vector_store_id}/file_batches/{batch_id}/files")
def list_files_in_vector_store_batch(
    vector_store_id: str,
    batch_id: str,
    services: ServicesOf,
    after: After = None,
    before: Before = None,
    limit: Limit = 20,
    order: Order = "desc",
    status: Status = None,
) -> CursorPage[StoredFileObject]:
    page = services.vector_store_files.files(
        vector_store_id, batch_id, after=after, before=before, limit=limit, newest_first=order == "desc", status=status
    )
    return _files(page)


def _files(page: Page[StoredFile]) -> CursorPage[StoredFileObject]:
    data = [StoredFileObject.of(file) for file in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CursorPage(data=data, has_more=page.has_more, first_id=first, last_id=last)
