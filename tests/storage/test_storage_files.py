"""Files, their bytes and tuned models."""

import pytest

from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Method
from luthier.domain.model import TunedModel
from luthier.errors import NotFoundError, PayloadTooLargeError
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.models import TunedModelStore


def make_file(file_id):
    return File(file_id, "train.jsonl", Purpose.FINE_TUNE, 12, 100)


def test_files_come_back_and_change(db):
    files = FileStore(db)
    files.create(make_file("file-1"))
    changed = files.update("file-1", status=FileStatus.ERROR, status_details="line 3: no completion")
    assert files.get("file-1") == changed
    assert changed.status_details == "line 3: no completion"


def test_a_deleted_file_is_remembered_for_its_jobs_alone(db):
    files = FileStore(db)
    for name in ("file-1", "file-2"):
        files.create(make_file(name))
    files.delete("file-1")
    assert [file.id for file in files.list().items] == ["file-2"]
    assert files.get("file-1", deleted=True).status is FileStatus.DELETED
    for call in (files.get, files.delete):
        with pytest.raises(NotFoundError, match="No such File object: file-1"):
            call("file-1")
    assert files.list(purpose=Purpose.RESULTS).items == ()


def test_blobs_are_streamed_and_whole(settings):
    blobs = Blobs(settings)
    assert blobs.save("file-1", (b"ab", b"", b"cde"), max_bytes=5) == 5
    assert blobs.path("file-1").read_bytes() == b"abcde"
    with blobs.open("file-1") as stream:
        assert stream.read() == b"abcde"
    blobs.delete("file-1")
    blobs.delete("file-1")
    with pytest.raises(NotFoundError):
        blobs.path("file-1")


def test_too_many_bytes_leave_nothing(settings):
    def endless():
        while True:
            yield b"x" * 10

    with pytest.raises(PayloadTooLargeError, match="LUTHIER_MAX_FILE_BYTES"):
        Blobs(settings).save("file-1", endless(), max_bytes=25)
    assert list(settings.blobs_dir.iterdir()) == []


def test_a_broken_upload_leaves_nothing(settings):
    def broken():
        yield b"x"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        Blobs(settings).save("file-1", broken(), max_bytes=25)
    assert list(settings.blobs_dir.iterdir()) == []


def test_tuned_models(db):
    models = TunedModelStore(db)
    final = models.add(TunedModel("ada:ft-a", "w", "ada", Method.LORA, "ft-1", "ft-1", 3))
    early = models.add(TunedModel("ada:ft-a:ckpt-step-5", "w", "ada", Method.LORA, "ft-1-step-5", "ft-1", 3, step=5))
    assert models.list() == [final, early]
    assert models.get("ada:ft-a:ckpt-step-5") == early
    assert models.delete("ada:ft-a") == final
    assert models.find("ada:ft-a") is None
    with pytest.raises(NotFoundError, match="ada:ft-a"):
        models.get("ada:ft-a")
