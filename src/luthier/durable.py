"""What must outlive a power cut: bytes, and the names that they bear, brought to the disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.errors import DataError


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which bears the name `path` only once everything in it is on the disk."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    for inner in unfinished.rglob("*"):
        sync(inner)
    sync(unfinished)
    if path.exists():
        shutil.rmtree(path)
    unfinished.replace(path)
    sync(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write, which takes the name `path` only once it is whole; what is there stays until then.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    if path.exists() and not path.is_file():  # a pipe, a terminal
        yield path
        return
    target = path.resolve()
    unfinished = target.with_name(f".{target.stem}.unfinished{target.suffix}")
    try:
        yield unfinished
        if target.exists():
            shutil.copymode(target, unfinished)
        sync(unfinished)
        unfinished.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """
    Raises:
        DataError: no file of this name can be written; asked before there is any work to be lost.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name a file.")
    if not path.parent.is_dir():
        raise DataError(f"There is no folder {path.parent} to write {path.name} into. Make it first.")
    if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):
        raise DataError(f"The folder {path.parent} cannot be written to. Name a file in another one.")


def sync(path: Path) -> None:
    """Have the system bring a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders; its file system writes names in order by itself
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
