"""Keys and batches on each kind of database."""

import pytest

from luthier.domain.batch import Batch, BatchError, BatchStatus
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.key import ApiKey, Scope
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.storage.batches import BatchStore
from luthier.storage.files import FileStore
from luthier.storage.keys import KeyStore


def make_key(number, **fields):
    return ApiKey(f"key_{number}", f"name {number}", f"{number:064}", "abcd", (Scope.READ, Scope.INFER), 100, **fields)


def test_keys_come_back_and_are_revoked(db):
    store = KeyStore(db)
    assert not store.any()
    one, two = store.add(make_key(1, requests_per_minute=5)), store.add(make_key(2, expires_at=200))
    assert store.list() == (one, two)
    assert store.find(one.digest) == one
    assert store.find("0") is None
    with pytest.raises(InvalidRequestError, match="There is a key named 'name 1'"):
        store.add(make_key(1))
    assert store.revoke("name 1", 300).revoked_at == 300
    assert store.find(one.digest).revoked_at == 300
    with pytest.raises(NotFoundError):
        store.revoke("name 1", 300)


def test_batches_come_back_and_change(db):
    files, store = FileStore(db), BatchStore(db)
    files.create(File("file-in", "in.jsonl", Purpose.BATCH, 1, 100))
    batch = store.create(Batch("batch_1", "/v1/completions", "file-in", "24h", 100, 200, metadata={"a": "b"}))
    assert store.get("batch_1") == batch
    assert store.unfinished() == (batch,)
    error = BatchError("bad", "No.", 3, "body.model")
    made = File("file-out", "out.jsonl", Purpose.BATCH_OUTPUT, 1, 100, FileStatus.PROCESSED)
    store.finish("batch_1", [made], status=BatchStatus.FAILED, errors=(error,), output_file=made.id)
    assert store.get("batch_1").errors == (error,)
    assert files.get("file-out") == made
    assert store.unfinished() == ()
    with pytest.raises(InvalidRequestError, match="status 'failed'"):
        store.request_cancel("batch_1")
    files.delete("file-in")
    with pytest.raises(InvalidRequestError, match="has been deleted meanwhile"):
        store.create(Batch("batch_2", "/v1/completions", "file-in", "24h", 100, 200))
