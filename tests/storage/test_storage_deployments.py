"""Records of deployments."""

from dataclasses import replace

import pytest

from luthier.domain.deployment import Deployment, DeploymentStatus, ScaleType
from luthier.errors import NotFoundError
from luthier.storage.db import Database
from luthier.storage.deployments import DeploymentStore

PROD = Deployment("prod", "ada", ScaleType.MANUAL, 2, DeploymentStatus.LOADING, created_at=1, updated_at=1)


@pytest.fixture
def store(db: Database) -> DeploymentStore:
    return DeploymentStore(db)


def test_what_is_put_is_there(store: DeploymentStore) -> None:
    assert store.put(PROD) == PROD
    assert store.get("prod") == store.find("prod") == PROD
    assert store.list() == store.list(model="ada") == [PROD]
    assert store.list(model="babbage") == []


def test_a_second_of_one_name_replaces_the_first(store: DeploymentStore) -> None:
    store.put(PROD)
    second = replace(PROD, model="babbage", scale_type=ScaleType.STANDARD, capacity=None, created_at=9, updated_at=9)
    assert store.put(second) == replace(second, created_at=1)
    assert store.list() == [replace(second, created_at=1)]


def test_changes_and_their_moment(store: DeploymentStore) -> None:
    store.put(PROD)
    changed = store.update("prod", status=DeploymentStatus.FAILED, error="no weights")
    assert (changed.status, changed.error) == (DeploymentStatus.FAILED, "no weights")
    assert changed.updated_at > 1
    assert store.get("prod") == changed


def test_a_deleted_one_is_gone(store: DeploymentStore) -> None:
    store.put(PROD)
    store.delete("prod")
    assert store.find("prod") is None
    for missing in (store.get, store.delete, store.update):
        with pytest.raises(NotFoundError):
            missing("prod")


def test_a_change_is_told_once_it_holds(db: Database, store: DeploymentStore) -> None:
    seen = [db.renames]

    def look() -> bool:
        seen.append(db.renames)
        return len(set(seen)) == len(seen)

    store.put(PROD)
    assert look()
    store.update("prod", status=DeploymentStatus.READY)
    assert look()
    store.delete("prod")
    assert look()
    with pytest.raises(NotFoundError):
        store.delete("prod")
    store.list()
    with db.write():
        pass
    with db.write(renames=True):
        assert db.renames == seen[-1]  # whoever looks now still sees what was there
    assert look()
