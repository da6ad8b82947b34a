"""The database: opening it, bringing its schema up to date, and its transactions.

What is peculiar to SQLite stands here alone; the stores speak SQL that PostgreSQL understands too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from luthier.config import Settings
from luthier.errors import ConfigError

_BUSY_SECONDS = 30
_CONNECTIONS = 64  # at once; the server answers that many requests at a time


class Database:
    """Short transactions on one database, from any thread.

    Args:
        engine: an engine whose schema is up to date; `open` makes it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(luthier_write=True)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the settings' database, create it if it is not there, and run the migrations that it lacks.

        Raises:
            ConfigError: `database_url` is no URL, or a newer Luthier has written this database.
        """
        settings.home.mkdir(parents=True, exist_ok=True)
        try:
            url = make_url(settings.sqlalchemy_url)
        except ArgumentError as error:
            raise ConfigError(f"LUTHIER_DATABASE_URL is no database URL: {error}") from None
        engine = create_engine(url, pool_size=8, max_overflow=_CONNECTIONS - 8)
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        database = cls(engine)
        with FileLock(settings.home / "migrations.lock"):
            _migrate(database)
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the whole database."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: all of it happens, or nothing when the block raises."""
        with self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions of its own; `begin` below does
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
        # A state that a client was told survives a power cut; there are few writes, so the sync is cheap.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A write lock from the start: a reader that turns writer midway would fail at once instead of waiting.
        writes = connection.get_execution_options().get("luthier_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", "luthier.storage:migrations")
    scripts = ScriptDirectory.from_config(config)
    with database.write() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current == scripts.get_current_head():
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise ConfigError(
                f"The database {database.engine.url!r} has revision {current}, which this version of Luthier does not "
                "know: a newer one wrote it. Upgrade Luthier, or set LUTHIER_HOME to another folder."
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
