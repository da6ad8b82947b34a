"""A PostgreSQL server of the tests' own: no TCP port, nothing kept, never as root."""

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

_UNPRIVILEGED = ("postgres", "nobody")
_START_SECONDS = 60


class PostgresServer:
    """A server in a temporary folder; each call of `database` gives the URL of a new, empty schema to work in.

    PostgreSQL refuses to run as root, so root starts it as another user.

    Args:
        vectors: the one that the package pgserver carries, with pgvector; else the system's own.
    """

    def __init__(self, *, vectors: bool = False) -> None:
        pytest.importorskip("psycopg")
        programs = _bundled() if vectors else _programs()
        if programs is None or os.name == "nt":
            missing = "pip install pgserver" if vectors else "apt-get install postgresql"
            pytest.skip(f"PostgreSQL's own programs, initdb and postgres, are not there: {missing}")
        self._user = _user()
        self._folder = Path(tempfile.mkdtemp(prefix="luthier-pg-"))  # short: a socket's path has 107 bytes
        self._path = ",public" if vectors else ""
        if self._user is not None:
            shutil.chown(self._folder, self._user)
            if vectors:  # the other user may not read where packages of root's lie
                programs = _copied(programs, self._folder / "pg")
        self._numbers = itertools.count()
        data = self._folder / "data"
        self._run(programs / "initdb", "-D", data, "-U", "luthier", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        socket = [f"unix_socket_directories={self._folder}", "listen_addresses="]
        quick = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]  # nothing is to survive
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, *(word for one in [*socket, *quick] for word in ("-c", one))],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as_user(),
            )
        self._url = f"postgresql+psycopg://luthier@/postgres?host={self._folder}"
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._wait()
        if vectors:
            with self._admin.connect() as connection:
                connection.execute(text("CREATE EXTENSION vector SCHEMA public"))

    def database(self) -> str:
        name = f"t{next(self._numbers)}"
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        return f"{self._url}&options=-csearch_path%3D{name}{self._path}"

    def stop(self) -> None:
        self._admin.dispose()
        self._process.send_signal(signal.SIGQUIT)  # at once, writing nothing more
        self._process.wait(_START_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, *words: str | Path) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd=self._folder, timeout=120, **self._as_user())

    def _as_user(self) -> dict[str, object]:
        return {} if self._user is None else {"user": self._user, "group": _group(self._user), "extra_groups": []}

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._admin.connect().close()
                return
            except OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise RuntimeError(f"PostgreSQL does not start: {log[-2000:]}") from None
                time.sleep(0.05)


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


def _bundled() -> Path | None:
    """The programs within the package pgserver."""
    found = importlib.util.find_spec("pgserver")
    folders = (
        [Path(folder) / "pginstall" / "bin" for folder in (found.submodule_search_locations or [])] if found else []
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _copied(programs: Path, to: Path) -> Path:
    """Copies the bundled programs, and the libraries beside their package; gives the folder of the copies."""
    package = programs.parents[1]
    for folder in (package, package.with_name("pgserver.libs")):
        if folder.exists():
            shutil.copytree(folder, to / folder.name)
    return to / package.name / "pginstall" / "bin"


def _user() -> str | None:
    """Whom to run it as, None for ourselves."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in known)


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
