"""The database: opening it, bringing its schema up to date, and its transactions."""

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import Connection, Engine

from luthier.config import Settings
from luthier.errors import ConfigError
from luthier.storage import dialects


class Database:
    """Short transactions on one database, from any thread.

    Args:
        engine: an engine whose schema is up to date; `open` makes it.

    Attributes:
        renames: another number after each transaction of this object that may have changed what a name means.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.renames = 0
        self._count = itertools.count(1)
        self._reading = dialects.reading(engine)
        self._writing = engine.execution_options(**{dialects.WRITES: True})

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the settings' database, create it if it is not there, and run the migrations that it lacks.

        Raises:
            ConfigError: `database_url` names none that can be used, or a newer Luthier has written this database.
        """
        settings.home.mkdir(parents=True, exist_ok=True)
        with FileLock(settings.home / "migrations.lock"):  # two at once may not change SQLite's journal
            database = cls(dialects.open_engine(settings.sqlalchemy_url))
            _migrate(database)
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the whole database."""
        with self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, renames: bool = False) -> Iterator[Connection]:
        """A transaction that may write: all of it happens, or nothing when the block raises.

        Args:
            renames: models or deployments, so that a name may mean something else afterwards.
        """
        with self._writing.begin() as connection:
            yield connection
        if renames:
            self.renames = next(self._count)

    def sole_server(self) -> AbstractContextManager[None]:
        """Keep other servers off this database for a while; those of another home too, where it is PostgreSQL.

        Raises:
            ConfigError: another server is at work on it.
        """
        return dialects.sole_server(self.engine)

    def close(self) -> None:
        self.engine.dispose()


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
