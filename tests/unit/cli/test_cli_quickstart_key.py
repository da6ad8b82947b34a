"""The quickstart on a machine whose server asks for keys."""

import pytest

from luthier.cli import quickstart
from luthier.cli.keys import key_service
from luthier.errors import AuthenticationError


@pytest.fixture(autouse=True)
def home(settings, monkeypatch):
    monkeypatch.setenv("LUTHIER_HOME", str(settings.home))


def test_no_key_where_none_is_asked():
    with quickstart._key() as key:
        assert key == ""


def test_a_key_of_its_own_that_ends_with_it():
    with key_service() as keys:
        keys.create("laptop")
        with quickstart._key() as key:
            assert keys.identify(key).name.startswith("quickstart-")
        with pytest.raises(AuthenticationError, match="revoked"):
            keys.identify(key)
        assert [made.revoked_at is None for made in keys.list()] == [True, False]
