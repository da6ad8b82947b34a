"""Taking in a file as multipart/form-data, for every path that takes one."""

from collections.abc import Iterator
from functools import partial
from typing import IO, Any

from anyio import to_thread
from starlette.requests import Request

from luthier.config import Settings
from luthier.domain.file import UPLOADED_FOR, File
from luthier.errors import InvalidRequestError, UnknownFieldError
from luthier.server.multipart import receive_form
from luthier.services.files import FileService

_CHUNK_BYTES = 1 << 20
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "additionalProperties": False,
                    "properties": {
                        "purpose": {"type": "string", "enum": [purpose.value for purpose in UPLOADED_FOR]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
"""The form, for the API's description."""


async def receive_upload(request: Request, files: FileService, settings: Settings) -> File:
    """
    Raises:
        InvalidRequestError: a form without file or purpose, or with anything else; or see `FileService.create`.
    """
    async with receive_form(request, settings.home / "uploads", settings.max_file_bytes) as form:
        for name in (*form.fields, *([form.file_field] if form.filename is not None else [])):
            if name not in ("purpose", "file"):
                raise UnknownFieldError(name, ("purpose", "file"), "The upload of a file")
        if not form.fields.get("purpose"):
            raise InvalidRequestError("You must provide the parameter 'purpose'.", param="purpose")
        if form.filename is None or form.file_field != "file":
            raise InvalidRequestError("You must provide the parameter 'file', with a file name.", param="file")
        create = partial(files.create, form.filename, form.fields["purpose"], _chunks(form.file))
        return await to_thread.run_sync(create)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
