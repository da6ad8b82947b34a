"""Receiving one file of a form: straight to the disk, with bounded memory."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from luthier.errors import InvalidRequestError
from luthier.server.body import bounded_stream

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_WRITE_BYTES = 1 << 20  # bytes given to the parser at once, in a thread
_MAX_FIELD_BYTES = 1 << 16  # of a field that is no file
_MAX_FIELDS = 32
_OVERHEAD_BYTES = 1 << 20  # of boundaries, headers and fields around the file


@dataclass
class Form:
    """A received form.

    Args:
        fields: the fields that are no files.
        filename: as the client named the file; None when there was none.
        file_field: name of the field that held the file.
        file: the file's bytes; it vanishes when the form is closed.
    """

    file: IO[bytes]
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    file_field: str = ""


@asynccontextmanager
async def receive_form(request: Request, folder: Path, max_file_bytes: int) -> AsyncIterator[Form]:
    """Read a form with at most one file, which waits under `folder` while the context lasts.

    Raises:
        InvalidRequestError: no form, a broken one, or one with too much in it.
        PayloadTooLargeError: the whole is larger than `max_file_bytes` and what belongs around a file.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequestError("Send the file as multipart/form-data, with the fields 'purpose' and 'file'.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        reader = _Reader(Form(file))
        message = f"The file is larger than {max_file_bytes} bytes, the most that this server takes (max_file_bytes)."
        waiting = bytearray()
        try:
            parser = MultipartParser(boundary, reader.callbacks())
            async for chunk in bounded_stream(request, max_file_bytes + _OVERHEAD_BYTES, message):
                waiting += chunk
                if len(waiting) >= _WRITE_BYTES:
                    await to_thread.run_sync(parser.write, bytes(waiting))
                    waiting.clear()
            await to_thread.run_sync(parser.write, bytes(waiting))
            parser.finalize()
        except FormParserError as error:
            raise InvalidRequestError(f"The form cannot be read: {error}.") from None
        if not reader.ended:
            raise InvalidRequestError("The form ends early: its last boundary is missing.")
        file.seek(0)
        yield reader.form


class _Reader:
    """Takes the parser's callbacks."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.ended = False
        self._header = self._value = b""
        self._name = ""
        self._text: bytearray | None = None  # of the current field; None within the file

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_begin": self._on_part_begin,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._name, self._text = "", bytearray()
        if len(self.form.fields) > _MAX_FIELDS:
            raise InvalidRequestError(f"The form has more than {_MAX_FIELDS} fields.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode(errors="replace")
            if b"filename" in options:
                if self.form.filename is not None:
                    raise InvalidRequestError("The form has two files. Send one at a time.", param=self._name)
                self.form.filename = options[b"filename"].decode(errors="replace")
                self.form.file_field = self._name
                self._text = None
        self._header = self._value = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self.form.file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise InvalidRequestError(f"The form's field '{self._name}' is too long.", param=self._name)

    def _on_part_end(self) -> None:
        if self._text is not None:
            if self._name in self.form.fields:
                raise InvalidRequestError(f"The form's field '{self._name}' stands twice.", param=self._name)
            self.form.fields[self._name] = self._text.decode(errors="replace")

    def _on_end(self) -> None:
        self.ended = True
