"""What must outlive a power cut: bytes, and the names that they bear, brought to the disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def sync(path: Path) -> None:
    """Have the system bring a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders; its file system writes names in order by itself
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
