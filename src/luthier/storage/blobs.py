"""The bytes of files, one file of the disk for each."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from luthier.config import Settings
from luthier.durable import sync
from luthier.errors import NotFoundError, PayloadTooLargeError

_ABANDONED_SECONDS = 24 * 3600  # without a byte


class Blobs:
    """A folder of bytes by id. Ids are ours (`domain.names`), so they are safe as file names."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.blobs_dir

    def save(self, blob_id: str, chunks: Iterable[bytes], max_bytes: int) -> int:
        """Write `chunks` as they come: all of them or nothing, never whole in memory.

        Returns:
            How many bytes it was.

        Raises:
            PayloadTooLargeError: there are more than `max_bytes`; nothing is kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{blob_id}.partial"
        size = 0
        try:
            with partial.open("wb") as out:
                for chunk in chunks:
                    size += len(chunk)
                    if size > max_bytes:
                        raise PayloadTooLargeError(
                            f"The file is larger than {max_bytes:,} bytes, the most that is taken here. "
                            "Split it, or raise LUTHIER_MAX_FILE_BYTES.",
                            param="file",
                        )
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            partial.replace(self._folder / blob_id)
            sync(self._folder)
        finally:
            partial.unlink(missing_ok=True)
        return size

    def sweep(self) -> None:
        """Remove what uploads left that never ended. Young ones may still be coming, to another server of this home."""
        oldest = time.time() - _ABANDONED_SECONDS
        for partial in self._folder.glob("*.partial"):
            with contextlib.suppress(FileNotFoundError):  # it has just come to its end
                if partial.stat().st_mtime < oldest:
                    partial.unlink()

    def path(self, blob_id: str) -> Path:
        """Where the bytes lie.

        Raises:
            NotFoundError: there are none of that id.
        """
        path = self._folder / blob_id
        if not path.is_file():
            raise NotFoundError(f"The content of {blob_id} is not there.", param="id")
        return path

    def growing(self, blob_id: str) -> Path:
        """Where bytes lie that come over a long time. No record names them before they are whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / blob_id

    def open(self, blob_id: str) -> BinaryIO:
        return self.path(blob_id).open("rb")

    def delete(self, blob_id: str) -> None:
        """Remove the bytes, if they are there."""
        (self._folder / blob_id).unlink(missing_ok=True)
