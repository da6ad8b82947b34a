"""The stores keep their promises on each kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.config import Settings
from luthier.storage.db import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with a new database."""
    url = request.getfixturevalue("postgresql").database() if request.param == "postgresql" else None
    return Settings(home=tmp_path / "a home with 100 % odd & letters", database_url=url)


@pytest.fixture
def db(home: Settings) -> Iterator[Database]:
    """The database of these settings, open."""
    database = Database.open(home)
    yield database
    database.close()
