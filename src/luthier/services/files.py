"""Files: taking them in, checking them, giving them back."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from luthier.config import Settings
from luthier.datasets.batch_file import BatchFileReport, check_batch_file
from luthier.datasets.validate import TrainingFileReport, check_training_file
from luthier.domain.batch import ENDPOINTS
from luthier.domain.file import UPLOADED_FOR, File, FileStatus, Purpose
from luthier.domain.names import FILE_PREFIX, new_id
from luthier.domain.page import Page
from luthier.errors import InvalidRequestError
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore

_MAX_FILENAME = 255


class FileService:
    """What `/v1/files` does.

    Args:
        forget: is told the id of each file that is deleted.
    """

    def __init__(
        self, settings: Settings, files: FileStore, blobs: Blobs, forget: Callable[[str], None] | None = None
    ) -> None:
        self._forget = forget
        self._settings = settings
        self._files = files
        self._blobs = blobs

    def create(self, filename: str, purpose: str, chunks: Iterable[bytes]) -> File:
        """Take in a file, streamed, and check it.

        A file that cannot be used is kept with status `error`, and `status_details` say what is wrong where.

        Raises:
            InvalidRequestError: a purpose that is not for uploads, or a name that cannot be one.
            PayloadTooLargeError: it is larger than the settings allow.
        """
        if purpose not in UPLOADED_FOR:
            raise InvalidRequestError(
                f"'{purpose}' is not a purpose that files can be uploaded for. "
                f"Use {', '.join(map(repr, map(str, UPLOADED_FOR)))}.",
                param="purpose",
            )
        if not filename.strip() or len(filename) > _MAX_FILENAME or not filename.isprintable():
            raise InvalidRequestError(
                f"The file needs a name of 1 to {_MAX_FILENAME} printable characters.", param="file"
            )
        file_id = new_id(FILE_PREFIX)
        size = self._blobs.save(file_id, chunks, self._settings.max_file_bytes)
        try:
            report = self._check(self._blobs.path(file_id), Purpose(purpose))
            fits = report is None or report.ok
            status = FileStatus.PROCESSED if fits else FileStatus.ERROR
            details = None if report is None or fits else report.summary()
            return self._files.create(
                File(file_id, filename, Purpose(purpose), size, int(time.time()), status, details)
            )
        except BaseException:
            self._blobs.delete(file_id)  # no bytes without a record
            raise

    def _check(self, path: Path, purpose: Purpose) -> TrainingFileReport | BatchFileReport | None:
        """What is wrong with a file; None for those that are only looked into when they are used."""
        if purpose in (Purpose.ASSISTANTS, Purpose.USER_DATA):
            return None
        longest = self._settings.max_line_bytes
        if purpose is Purpose.BATCH:
            return check_batch_file(path, max_line_bytes=longest, endpoints=ENDPOINTS)
        return check_training_file(path, max_line_bytes=longest)

    def list(
        self,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Page[File]:
        """Files, oldest first unless told otherwise.

        Raises:
            InvalidRequestError: an unknown purpose, or `after` names no file.
        """
        if purpose is not None and purpose not in set(Purpose):
            raise InvalidRequestError(f"'{purpose}' is no purpose. There are {', '.join(Purpose)}.", param="purpose")
        wanted = Purpose(purpose) if purpose is not None else None
        return self._files.list(purpose=wanted, after=after, limit=limit, newest_first=newest_first)

    def get(self, file_id: str) -> File:
        """
        Raises:
            NotFoundError: there is no such file.
        """
        return self._files.get(file_id)

    def content(self, file_id: str) -> tuple[File, Path]:
        """A file and where its bytes lie.

        Raises:
            NotFoundError: there is no such file.
        """
        file = self._files.get(file_id)
        return file, self._blobs.path(file_id)

    def delete(self, file_id: str) -> None:
        """
        Raises:
            NotFoundError: there is no such file.
            InvalidRequestError: a job or batch that waits or runs reads it.
        """
        self._files.delete(file_id)
        self._blobs.delete(file_id)
        if self._forget is not None:
            self._forget(file_id)
