"""Vectors at rest: one interface (`base`), kept in a folder of this machine, in PostgreSQL or in Qdrant."""

import re
from pathlib import Path

from luthier.errors import ConfigError
from luthier.storage.indexes.base import (
    Indexes,
    IndexHit,
    IndexSpec,
    Record,
    VectorIndex,
    check_new,
    check_records,
    is_attribute,
)

__all__ = [
    "IndexHit",
    "IndexSpec",
    "Indexes",
    "Record",
    "VectorIndex",
    "check_new",
    "check_records",
    "is_attribute",
    "open_indexes",
]


def open_indexes(place: str | Path) -> Indexes:
    """The indexes of a place.

    Args:
        place: a folder, `postgresql://user:password@host/name` or `http://host:6333` of a Qdrant server.

    Raises:
        ConfigError: a URL of another kind, a package that it needs is not installed, or nobody answers there.
    """
    address = str(place)
    kind = address.partition("://")[0].partition("+")[0] if "://" in address else "folder"
    if kind in ("postgresql", "postgres"):
        from luthier.storage.indexes.postgresql import PostgresIndexes

        return PostgresIndexes.connect(address)
    if kind in ("http", "https"):
        from luthier.storage.indexes.qdrant import QdrantIndexes

        return QdrantIndexes.connect(address)
    if kind != "folder":
        shown = re.sub(r"//[^/@]*@", "//***@", address)  # without a password
        raise ConfigError(
            f"Indexes cannot be kept at '{shown}'. Name a folder, a PostgreSQL database "
            "(postgresql://user:password@host/name) or a Qdrant server (http://host:6333)."
        )
    from luthier.storage.indexes.embedded import EmbeddedIndexes

    return EmbeddedIndexes(Path(place))
