"""What is peculiar to SQLite and to PostgreSQL. The stores speak SQL that both understand.

Both keep the same promises: one transaction writes at a time, and a transaction that reads sees one state of the whole
database. So a store may look first and write then, and an event that is seen never has an unseen one before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from luthier.errors import ConfigError

WRITES = "luthier_write"  # execution option of a connection whose transactions may write
_WAIT_SECONDS = 30  # for another's write
_IDLE_SECONDS = 60  # after which PostgreSQL ends the transaction of a client that hangs
_CONNECTIONS = 64  # at once; the server answers that many requests at a time
_WRITE_LOCK, _SERVER_LOCK = 0x6C757401, 0x6C757402  # PostgreSQL's advisory locks have numbers for names


def open_engine(address: str, named: str = "LUTHIER_DATABASE_URL") -> Engine:
    """An engine that keeps the promises above.

    Args:
        address: a database's URL; `postgresql://` and `postgres://` mean the driver that Luthier uses.
        named: where the address comes from, as the beginning of a sentence.

    Raises:
        ConfigError: it is no URL, of another kind of database, lacks its driver, or does not answer.
    """
    try:
        url = make_url(address)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        prepare = _PREPARE.get(url.get_backend_name())
        if prepare is None:
            raise ConfigError(
                f"{named} names a database of the kind '{url.get_backend_name()}'. Luthier keeps its "
                "state in SQLite (by default) or PostgreSQL: postgresql+psycopg://user:password@host/name."
            )
        far = url.get_backend_name() != "sqlite"  # a connection may have died since it was last used
        engine = create_engine(url, pool_size=8, max_overflow=_CONNECTIONS - 8, pool_pre_ping=far)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"{named} is no database URL: {error}") from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{named} needs the package '{error.name}', which is not installed. For PostgreSQL: "
            "pip install 'luthier[postgresql]'."
        ) from None
    prepare(engine)
    try:
        engine.connect().close()
    except OperationalError as error:
        raise ConfigError(f"The database {engine.url!r} does not answer: {error.orig}") from None
    except DatabaseError as error:
        raise ConfigError(f"The database {engine.url!r} cannot be read: {error.orig}.") from None
    return engine


def reading(engine: Engine) -> Engine:
    """The engine for transactions that only read."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def sole_server(engine: Engine) -> Iterator[None]:
    """Be the only server on a PostgreSQL database for a while; a home of SQLite has the executor's own lock.

    Raises:
        ConfigError: another server is.
    """
    if engine.dialect.name == "sqlite":
        yield
        return
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_SERVER_LOCK})").scalar_one():
            raise ConfigError(
                f"Another server already works on the database {engine.url!r}. "
                "Use that one, stop it, or set LUTHIER_DATABASE_URL to another database."
            )
        try:
            yield
        finally:
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_SERVER_LOCK})")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions of its own; `begin` below does
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
        # A state that a client was told survives a power cut; there are few writes, so the sync is cheap.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A write lock from the start: a reader that turns writer midway would fail at once instead of waiting.
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = '{_WAIT_SECONDS}s'")
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
        cursor.close()
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One writer at a time, as in SQLite. The lock ends with the transaction.
        if connection.get_execution_options().get(WRITES):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def clean(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> Any:
        return statement, _without_nul(parameters)


def _without_nul(value: Any) -> Any:
    """Parameters of a statement, U+FFFD in place of the one character that PostgreSQL's texts cannot hold."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {name: _without_nul(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_without_nul, value))
    return value


_PREPARE = {"sqlite": _prepare_sqlite, "postgresql": _prepare_postgresql}
