"""/openai/files"""

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.azure.version import VersionOf, WithVersion
from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.uploading import FORM, receive_upload
from luthier.server.wire.azure import AzureFile, ImportFileBody
from luthier.server.wire.base import Deleted, Listing

router = APIRouter(prefix="/openai/files", tags=["Azure: files"], dependencies=[WithVersion])
imports = APIRouter(prefix="/openai/files", tags=["Azure: files"], dependencies=[WithVersion], route_class=JsonRoute)


@imports.post("/import", status_code=201)
def import_file(body: ImportFileBody, response: Response, version: VersionOf, services: ServicesOf) -> AzureFile:
    """Fetch a file from a URL, where the operator allows its host. It is there, and checked, with the answer."""
    file = services.imports.create(body.content_url, body.filename, body.purpose)
    response.headers["Location"] = f"/openai/files/{file.id}"
    return AzureFile.of(file, openai_statuses=version.has_openai_statuses)


@router.post("", openapi_extra=FORM, status_code=201)
async def upload_file(
    request: Request, response: Response, version: VersionOf, services: ServicesOf, settings: SettingsOf
) -> AzureFile:
    """Upload a file. It is checked at once: `status` and `error` say what is wrong with it."""
    file = await receive_upload(request, services.files, settings)
    response.headers["Location"] = f"/openai/files/{file.id}"
    return AzureFile.of(file, openai_statuses=version.has_openai_statuses)


@router.get("")
def list_files(version: VersionOf, services: ServicesOf, purpose: str | None = None) -> Listing[AzureFile]:
    """All files, oldest first."""
    files = services.files.list(purpose=purpose).items
    return Listing(data=[AzureFile.of(file, openai_statuses=version.has_openai_statuses) for file in files])


@router.get("/{file_id:path}/content", response_class=FileResponse)
def download_file(file_id: str, services: ServicesOf) -> FileResponse:
    """The file's bytes."""
    file, path = services.files.content(file_id)
    return FileResponse(path, media_type="application/octet-stream", filename=file.filename)


@router.get("/{file_id:path}")
def retrieve_file(file_id: str, version: VersionOf, services: ServicesOf) -> AzureFile:
    """One file. An id that is a path or a URL is simply not found: the old client asks for those first."""
    return AzureFile.of(services.files.get(file_id), openai_statuses=version.has_openai_statuses)


@router.delete("/{file_id:path}")
def delete_file(file_id: str, services: ServicesOf) -> Deleted:
    """Delete a file and its bytes."""
    services.files.delete(file_id)
    return Deleted(id=file_id, object="file")
