"""Records of deployments. What is in memory for them is the service's."""

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, select

from luthier.domain.deployment import Deployment
from luthier.storage.db import Database
from luthier.storage.rows import Rows
from luthier.storage.schema import deployments

DEPLOYMENTS = Rows(deployments, Deployment, "deployment", "deployment")


class DeploymentStore:
    """Deployments, oldest first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, deployment: Deployment) -> Deployment:
        """Keep a deployment; one that has its name makes room, and leaves it its `created_at`."""
        with self._db.write(renames=True) as connection:
            query = select(deployments).where(deployments.c.id == deployment.id).with_for_update()
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                DEPLOYMENTS.insert(connection, deployment)
            else:
                deployment = replace(deployment, created_at=row["created_at"])
                DEPLOYMENTS.replace(connection, deployment.id, deployment)
        return deployment

    def get(self, name: str) -> Deployment:
        """
        Raises:
            NotFoundError: there is no deployment of that name.
        """
        with self._db.read() as connection:
            return DEPLOYMENTS.get(connection, name)

    def find(self, name: str) -> Deployment | None:
        """The deployment, or None when there is none of that name."""
        with self._db.read() as connection:
            row = connection.execute(select(deployments).where(deployments.c.id == name)).mappings().one_or_none()
        return DEPLOYMENTS.load(row) if row is not None else None

    def list(self, *, model: str | None = None) -> list[Deployment]:
        """All, or those of one model."""
        query = select(deployments)
        if model is not None:
            query = query.where(deployments.c.model == model)
        with self._db.read() as connection:
            return list(DEPLOYMENTS.page(connection, query).items)

    def update(self, name: str, **changes: Any) -> Deployment:
        """
        Raises:
            NotFoundError: there is no deployment of that name.
        """
        with self._db.write(renames=True) as connection:
            old = DEPLOYMENTS.get(connection, name, for_update=True)
            deployment = replace(old, **changes, updated_at=int(time.time()))
            DEPLOYMENTS.replace(connection, name, deployment)
        return deployment

    def delete(self, name: str) -> None:
        """
        Raises:
            NotFoundError: there is no deployment of that name.
        """
        with self._db.write(renames=True) as connection:
            DEPLOYMENTS.get(connection, name, for_update=True)
            connection.execute(delete(deployments).where(deployments.c.id == name))
