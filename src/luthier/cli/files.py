"""Files on the server: the old client's `files.*`, and `luthier files`."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from luthier.cli import render
from luthier.cli.remote import Json
from luthier.errors import DataError, LuthierError, NotFoundError

if TYPE_CHECKING:
    from luthier.cli.client import Client

FileId = Annotated[str, typer.Option("-i", "--id", help="The file's id.")]


def list_files(client: "Client") -> None:
    """List the files on the server."""
    files = client.get("files")["data"]
    if files:
        render.console().print(render.file_table(files))
    else:
        render.say("No files yet. `luthier tune FILE` uploads one.")


def files_create(
    client: "Client",
    file: Annotated[Path, typer.Option("-f", "--file", help="File to upload.")],
    purpose: Annotated[str, typer.Option("-p", "--purpose", help="What it is for: fine-tune or batch.")],
) -> None:
    """Upload a file."""
    with _opened(file) as content:
        render.show_json(_upload(client, file.name, content, purpose))


def files_get(client: "Client", id: FileId) -> None:
    """Show what is known of a file."""
    render.show_json(client.get("files", id))


def files_list(client: "Client") -> None:
    """List the files on the server."""
    render.show_json(client.get("files"))


def files_delete(client: "Client", id: FileId) -> None:
    """Delete a file."""
    render.show_json(client.delete("files", id))


def get_or_upload(client: "Client", file: str, reuse: bool = True, purpose: str = "fine-tune") -> str:
    """The id on the server of what a user named.

    A path is uploaded, unless a file of the same name and content is there already; an http(s) URL is fetched and
    uploaded; anything else is taken for the id of an uploaded file.

    Args:
        file: path, URL or file id.
        reuse: whether to look for the same file on the server first.
        purpose: what it is for.

    Raises:
        DataError: the server found the file unfit for its purpose; the message says where.
        NotFoundError: neither a file here nor one on the server.
    """
    if Path(file).is_file():
        with _opened(Path(file)) as content:
            return _reuse_or_upload(client, Path(file).name, content, reuse, purpose)
    if file.lower().startswith(("http://", "https://")):
        with _fetched(file) as content:
            return _reuse_or_upload(client, file.rstrip("/").rsplit("/", 1)[-1], content, reuse, purpose)
    try:
        found = client.get("files", file)
    except NotFoundError:
        raise NotFoundError(
            f"'{file}' is neither a file here ({Path.cwd()}) nor the id of a file on the server."
        ) from None
    render.say(f"Using {found['filename']} ({file})")
    return file


def _reuse_or_upload(client: "Client", name: str, content: BinaryIO, reuse: bool, purpose: str) -> str:
    if reuse and (known := _same_on_server(client, name, content, purpose)):
        render.say(f"{name} is on the server already: {known}")
        return known
    answer = _upload(client, name, content, purpose)
    if answer.get("status") == "error":
        unfit = "cannot be trained on" if purpose == "fine-tune" else "cannot be used"
        raise DataError(f"{name} {unfit}: {answer.get('status_details')}")
    render.say(f"Uploaded {name}: {answer['id']}")
    return str(answer["id"])


def _same_on_server(client: "Client", name: str, content: BinaryIO, purpose: str) -> str | None:
    """Id of a usable file of this name, size and content on the server."""
    size = content.seek(0, 2)
    content.seek(0)
    alike = [
        file["id"]
        for file in client.get("files")["data"]
        if (file["filename"], file["bytes"], file["purpose"]) == (name, size, purpose) and file["status"] != "error"
    ]
    if not alike:
        return None
    ours = hashlib.sha256()
    while piece := content.read(1 << 20):
        ours.update(piece)
    for file_id in reversed(alike):
        theirs = hashlib.sha256()
        for piece in client.content(file_id):
            theirs.update(piece)
        if theirs.digest() == ours.digest():
            return str(file_id)
    return None


def _upload(client: "Client", name: str, content: BinaryIO, purpose: str) -> Json:
    """Upload with a bar on a terminal."""
    from rich.progress import wrap_file

    size = content.seek(0, 2)
    content.seek(0)
    console = render.console(stderr=True)
    with wrap_file(
        content, size, description=f"Uploading {name}", console=console, transient=True, disable=not console.is_terminal
    ) as watched:
        return client.upload(name, watched, purpose)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        content = file.open("rb")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from None
    with content:
        yield content


@contextmanager
def _fetched(url: str) -> Iterator[BinaryIO]:
    import httpx

    with tempfile.TemporaryFile() as content:
        try:
            with httpx.stream("GET", url, follow_redirects=True) as response:
                response.raise_for_status()
                for piece in response.iter_bytes():
                    content.write(piece)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LuthierError(f"{url} cannot be fetched: {error}") from None
        content.seek(0)
        yield content
