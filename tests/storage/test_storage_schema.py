"""The migrations arrive at the schema, and the schema at the domain."""

import dataclasses
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from luthier.config import Settings
from luthier.domain.deployment import Deployment
from luthier.domain.file import File
from luthier.domain.job import Event, Job
from luthier.domain.key import ApiKey
from luthier.domain.model import TunedModel
from luthier.errors import ConfigError
from luthier.storage import schema
from luthier.storage.db import Database


def test_migrations_give_exactly_the_schema(home):
    database = Database.open(home)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


@pytest.mark.parametrize(
    ("kind", "table", "more"),
    [
        (Job, schema.jobs, set()),
        (File, schema.files, set()),
        (TunedModel, schema.tuned_models, set()),
        (Deployment, schema.deployments, set()),
        (ApiKey, schema.api_keys, set()),
        (Event, schema.events, {"job_id", "key"}),
    ],
)
def test_columns_are_the_fields(kind, table, more):
    fields = {field.name for field in dataclasses.fields(kind)}
    assert {column.name for column in table.c} == fields | more | {"position"}


def test_a_second_opening_changes_nothing(home):
    Database.open(home).close()
    Database.open(home).close()


def test_a_database_of_a_newer_version_is_left_alone(home):
    database = Database.open(home)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="revision 9999"):
        Database.open(home)


def test_a_broken_url_is_named(tmp_path):
    with pytest.raises(ConfigError, match="LUTHIER_DATABASE_URL"):
        Database.open(Settings(home=tmp_path, database_url="nonsense"))


def test_sqlite_is_set_up_for_many_processes(settings):
    with Database.open(settings).read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_a_transaction_that_fails_leaves_nothing(home):
    database = Database.open(home)
    row = {"id": "f", "filename": "a", "purpose": "p", "bytes": 1, "created_at": 1, "status": "s"}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(schema.files.insert(), [row, row])
    with database.read() as connection:
        assert connection.execute(schema.files.select()).all() == []


def test_processes_may_open_a_new_database_at_once(home):
    script = (
        "import sys; from pathlib import Path; from luthier.config import Settings;"
        "from luthier.storage.db import Database;"
        "Database.open(Settings(home=Path(sys.argv[1]), database_url=sys.argv[2] or None))"
    )
    homes = [str(home.home / str(n if home.database_url else 0)) for n in range(3)]  # of three hosts, where they may be
    processes = [subprocess.Popen([sys.executable, "-c", script, one, home.database_url or ""]) for one in homes]
    assert [process.wait() for process in processes] == [0, 0, 0]


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "luthier.db").write_bytes(b"garbage")
    with pytest.raises(ConfigError, match=r"luthier\.db cannot be read: file is not a database"):
        Database.open(Settings(home=tmp_path))
