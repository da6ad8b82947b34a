"""/v1/files"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from starlette.requests import Request

from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.uploading import FORM, receive_upload
from luthier.server.wire.base import CursorPage, Deleted
from luthier.server.wire.files import FileObject

router = APIRouter(prefix="/v1/files", tags=["Files"])


@router.post("", openapi_extra=FORM)
async def upload_file(request: Request, services: ServicesOf, settings: SettingsOf) -> FileObject:
    """Upload a file. It is checked at once: `status` and `status_details` say what is wrong with it."""
    return FileObject.of(await receive_upload(request, services.files, settings))


@router.get("")
def list_files(
    services: ServicesOf,
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
    after: Annotated[str | None, Query(description="Id of the last file already seen.")] = None,
    limit: Annotated[int | None, Query(ge=1, le=10_000, description="All by default.")] = None,
    order: Literal["asc", "desc"] = "asc",
) -> CursorPage[FileObject]:
    """List the files, oldest first unless asked otherwise; complete by default."""
    page = services.files.list(purpose=purpose, after=after, limit=limit, newest_first=order == "desc")
    data = [FileObject.of(file) for file in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CursorPage(data=data, has_more=page.has_more, first_id=first, last_id=last)


@router.get("/{file_id:path}/content", response_class=FileResponse)
def download_file(file_id: str, services: ServicesOf) -> FileResponse:
    """The file's bytes."""
    file, path = services.files.content(file_id)
    return FileResponse(path, media_type="application/octet-stream", filename=file.filename)


@router.get("/{file_id:path}")
def retrieve_file(file_id: str, services: ServicesOf) -> FileObject:
    """One file. An id that is a path or a URL is simply not found: the old client asks for those first."""
    return FileObject.of(services.files.get(file_id))


@router.delete("/{file_id:path}")
def delete_file(file_id: str, services: ServicesOf) -> Deleted:
    """Delete a file and its bytes."""
    services.files.delete(file_id)
    return Deleted(id=file_id, object="file")
