"""Keys. The store knows digests, never a secret."""

import hmac
from dataclasses import replace

from sqlalchemy import select

from luthier.domain.key import ApiKey
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.storage.db import Database
from luthier.storage.rows import Rows
from luthier.storage.schema import api_keys

KEYS = Rows(api_keys, ApiKey, "key", "key")


class KeyStore:
    """Revoked keys stay."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, key: ApiKey) -> ApiKey:
        """
        Raises:
            InvalidRequestError: another key that is not revoked has this name.
        """
        same = select(api_keys.c.id).where(api_keys.c.name == key.name, api_keys.c.revoked_at.is_(None))
        with self._db.write() as connection:
            if connection.execute(same).first() is not None:
                raise InvalidRequestError(
                    f"There is a key named '{key.name}'. Take another name, or revoke that one first.", param="name"
                )
            KEYS.insert(connection, key)
        return key

    def find(self, digest: str) -> ApiKey | None:
        """The key of a secret, also an expired or revoked one."""
        with self._db.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.digest == digest)).mappings().one_or_none()
        key = KEYS.load(row) if row is not None else None
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None

    def any(self) -> bool:
        """Whether a key was ever made."""
        with self._db.read() as connection:
            return connection.execute(select(api_keys.c.id).limit(1)).first() is not None

    def list(self) -> tuple[ApiKey, ...]:
        """All, oldest first."""
        with self._db.read() as connection:
            return KEYS.page(connection, select(api_keys)).items

    def revoke(self, name_or_id: str, at: int) -> ApiKey:
        """
        Args:
            at: Unix seconds.

        Raises:
            NotFoundError: no key that is not revoked yet has this name or id.
        """
        named = (api_keys.c.name == name_or_id) | (api_keys.c.id == name_or_id)
        query = select(api_keys).where(named, api_keys.c.revoked_at.is_(None)).with_for_update()
        with self._db.write() as connection:
            rows = connection.execute(query).mappings().all()
            if not rows:
                raise NotFoundError(
                    f"There is no key '{name_or_id}' to revoke. `luthier keys list` names them.", param="key"
                )
            found = [KEYS.load(row) for row in rows]
            key = next((key for key in found if key.id == name_or_id), found[0])  # an id counts before a name
            revoked = replace(key, revoked_at=at)
            KEYS.replace(connection, key.id, revoked)
        return revoked
