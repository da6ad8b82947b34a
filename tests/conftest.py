"""What all tests share: settings in a folder of their own, a tiny base, and the real one."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgresql_server import PostgresServer

from luthier.config import Settings, load_settings
from luthier.errors import LuthierError

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: each worker of pytest-xdist would take all cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "contract(endpoint, field, verdict, how=''): what the test shows of a field of the API, for "
        "docs/compatibility.md (tests/contract/compatibility.py)",
    )


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose whole state lies under the test's own folder, whatever the environment says."""
    for name in list(os.environ):
        if name.startswith("LUTHIER_"):
            monkeypatch.delenv(name)
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process, started when a test asks for it."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def pgvector() -> Iterator[PostgresServer]:
    """A PostgreSQL server that has pgvector, started when a test asks for it."""
    server = PostgresServer(vectors=True)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base model of 2 layers as a folder. Read-only: make a copy to change it."""
    from luthier.testing import make_tiny_base  # imports torch: only the tests that need it wait for that

    return make_tiny_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="session")
def ada_folder() -> Path:
    """The real weights of `ada`, from LUTHIER_MODELS or the user's default folder, pulled when they are not there."""
    from luthier.modeling.bases import BaseStore

    try:
        return BaseStore(load_settings()).ensure("ada").path
    except LuthierError as error:
        pytest.skip(f"the weights of ada are not at hand: {error.message}")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random sentence encoder of 2 layers that reads 32 bytes at once. Read-only: make a copy to change it."""
    from luthier.testing import make_tiny_encoder

    prompts = {"query": "query: ", "document": "document: "}
    return make_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny", prompts=prompts)


@pytest.fixture(scope="session")
def encoder_folder() -> Callable[[str], Path]:
    """Finds the real weights of an embedding model by name, pulled when they are not there."""
    from luthier.modeling.bases import BaseStore

    def find(name: str) -> Path:
        try:
            return BaseStore(load_settings()).ensure(name).path
        except LuthierError as error:
            pytest.skip(f"the weights of {name} are not at hand: {error.message}")

    return find
