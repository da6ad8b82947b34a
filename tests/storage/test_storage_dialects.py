"""What both kinds of database promise, and what an address that cannot be used is told."""

import sys
import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.errors import ConfigError
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.models import TunedModelStore
from luthier.storage.schema import files


def make_file(file_id, **fields):
    return File(file_id, fields.pop("filename", "a.jsonl"), Purpose.FINE_TUNE, 1, 100, **fields)


def test_one_transaction_writes_at_a_time(db):
    store = FileStore(db)
    first = threading.Event()
    order = []

    def second():
        first.wait(30)
        store.create(make_file("file-2"))
        order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with db.write() as connection:
        connection.execute(select(files)).all()
        first.set()
        other.join(0.3)
        assert other.is_alive()
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]


def test_a_reader_sees_one_state_and_waits_for_no_writer(db):
    store = FileStore(db)
    store.create(make_file("file-1"))
    with db.read() as connection:
        before = connection.execute(select(files.c.id)).all()
        store.create(make_file("file-2"))
        assert connection.execute(select(files.c.id)).all() == before
    assert len(store.list().items) == 2


def test_texts_may_hold_any_character(db):
    store = FileStore(db)
    store.create(make_file("file-1", filename="é 😀 ' \" % :x {y} \\"))
    assert store.get("file-1").filename == "é 😀 ' \" % :x {y} \\"
    store.create(make_file("file-2", filename="a\0b", status=FileStatus.ERROR, status_details="\0"))
    assert store.get("file-2").filename in ("a\0b", "a\ufffdb")
    assert TunedModelStore(db).find("ada\0") is None


def test_a_postgresql_database_has_one_server_whatever_its_home(postgresql, tmp_path):
    url = postgresql.database()
    one, two = (Database.open(Settings(home=tmp_path / name, database_url=url)) for name in ("one", "two"))
    with one.sole_server(), pytest.raises(ConfigError, match="Another server already works on the database"):
        two.sole_server().__enter__()
    with two.sole_server():
        pass
    for database in (one, two):
        database.close()


def test_postgresql_refuses_to_write_where_it_only_reads(postgresql, tmp_path):
    database = Database.open(Settings(home=tmp_path, database_url=postgresql.database()))
    with pytest.raises(DBAPIError, match="read-only"), database.read() as connection:
        connection.execute(files.delete())
    database.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_by_any_of_its_names(postgresql, tmp_path, scheme):
    url = scheme + postgresql.database().removeprefix("postgresql+psycopg")
    Database.open(Settings(home=tmp_path, database_url=url)).close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "LUTHIER_DATABASE_URL is no database URL"),
        ("mysql://root@localhost/x", "of the kind 'mysql'.*SQLite .* or PostgreSQL"),
        ("sqlite:////no/such/folder/x.db", "does not answer: unable to open"),
        ("postgresql+asyncpg2://u@localhost/x", "LUTHIER_DATABASE_URL"),
    ],
)
def test_an_address_that_cannot_be_used(tmp_path, url, words):
    with pytest.raises(ConfigError, match=words):
        Database.open(Settings(home=tmp_path, database_url=url))


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    pytest.importorskip("psycopg")
    url = f"postgresql://user:secret@/x?host={tmp_path}"
    with pytest.raises(ConfigError, match="does not answer") as caught:
        Database.open(Settings(home=tmp_path, database_url=url))
    assert "secret" not in caught.value.message


def test_a_driver_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"psycopg.*pip install 'luthier\[postgresql\]'"):
        Database.open(Settings(home=tmp_path, database_url="postgresql://localhost/x"))
