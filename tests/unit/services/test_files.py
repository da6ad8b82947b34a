"""Files: what is taken, what is refused, and what becomes of them."""

import pytest

from luthier.config import Settings
from luthier.domain.file import FileStatus
from luthier.domain.hyperparameters import Hyperparameters
from luthier.domain.job import Dialect, Job, Status
from luthier.errors import ConfigError, InvalidRequestError, NotFoundError, PayloadTooLargeError
from luthier.services.files import FileService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore

_GOOD = b'{"prompt": "a ->", "completion": " b"}\n'


@pytest.fixture
def settings(settings):
    return Settings(home=settings.home, max_line_bytes=1000, max_file_bytes=10_000)


@pytest.fixture
def jobs(settings):
    return JobStore(Database.open(settings))


@pytest.fixture
def service(settings):
    return FileService(settings, FileStore(Database.open(settings)), Blobs(settings))


def test_the_bytes_of_a_deleted_file_go_even_if_its_vectors_cannot(settings):
    def forget(file_id):
        raise ConfigError(f"The index of {file_id} does not answer.")

    service = FileService(settings, FileStore(Database.open(settings)), Blobs(settings), forget)
    file = service.create("train.jsonl", "fine-tune", [_GOOD])
    path = service.content(file.id)[1]
    with pytest.raises(ConfigError):
        service.delete(file.id)
    assert not path.exists()


def test_a_good_file_is_processed_and_comes_back(service):
    file = service.create("train.jsonl", "fine-tune", [_GOOD[:10], _GOOD[10:]])
    assert (file.status, file.status_details, file.bytes) == (FileStatus.PROCESSED, None, len(_GOOD))
    assert service.get(file.id) == file
    assert service.content(file.id)[1].read_bytes() == _GOOD
    assert service.list().items == (file,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (_GOOD + b"not json\n", "Line 2: it is not JSON"),
        (_GOOD + b'{"prompt": "a"}\n', "Line 2: the key `completion` is missing"),
        (_GOOD + b'{"prompt": "a", "completion": ""}\n', "Line 2: `completion` is empty"),
        (b'{"prompt": "\xff", "completion": "b"}\n', "Line 1: byte 13"),
        (_GOOD + b'{"prompt": "' + b"x" * 2000 + b'", "completion": "b"}\n', "Line 2: it is longer than 1,000 bytes"),
        (_GOOD.decode().encode("utf-16"), "UTF-16"),
    ],
)
def test_a_bad_file_is_kept_and_says_what_is_wrong(service, content, words):
    file = service.create("train.jsonl", "fine-tune", [content])
    assert file.status is FileStatus.ERROR
    assert words in file.status_details
    assert service.content(file.id)[1].read_bytes() == content


def test_a_bom_and_crlf_are_simply_read(service):
    content = b"\xef\xbb\xbf" + _GOOD.replace(b"\n", b"\r\n")
    assert service.create("train.jsonl", "fine-tune", [content]).status is FileStatus.PROCESSED


def test_a_file_that_is_too_large_leaves_nothing(service, settings):
    with pytest.raises(PayloadTooLargeError, match="10,000 bytes"):
        service.create("train.jsonl", "fine-tune", [_GOOD] * 1000)
    assert list(settings.blobs_dir.iterdir()) == []
    assert service.list().items == ()


@pytest.mark.parametrize("purpose", ["fine-tune-results", "answers", ""])
def test_other_purposes_are_refused(service, purpose):
    with pytest.raises(InvalidRequestError, match="Use 'fine-tune'") as error:
        service.create("train.jsonl", purpose, [_GOOD])
    assert error.value.param == "purpose"


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "a\nb"])
def test_a_file_needs_a_name(service, name):
    with pytest.raises(InvalidRequestError) as error:
        service.create(name, "fine-tune", [_GOOD])
    assert error.value.param == "file"


def test_the_list_takes_a_purpose_and_refuses_others(service):
    service.create("train.jsonl", "fine-tune", [_GOOD])
    assert len(service.list(purpose="fine-tune").items) == 1
    assert service.list(purpose="fine-tune-results").items == ()
    with pytest.raises(InvalidRequestError, match="no purpose"):
        service.list(purpose="nonsense")


def test_deleting(service):
    file = service.create("train.jsonl", "fine-tune", [_GOOD])
    service.delete(file.id)
    for call in (service.get, service.content, service.delete):
        with pytest.raises(NotFoundError):
            call(file.id)


def test_a_file_in_use_is_not_deleted(service, jobs):
    file = service.create("train.jsonl", "fine-tune", [_GOOD])
    jobs.create(Job("ft-1", Dialect.LEGACY, Status.QUEUED, "ada", Hyperparameters(), file.id, 0, 0))
    with pytest.raises(InvalidRequestError, match=r"in use by ft-1 \(queued\)"):
        service.delete(file.id)
    jobs.request_cancel("ft-1")
    service.delete(file.id)


def test_an_interrupted_check_leaves_no_bytes(service, settings, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("luthier.services.files.check_training_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        service.create("train.jsonl", "fine-tune", [_GOOD])
    assert list(settings.blobs_dir.iterdir()) == []
