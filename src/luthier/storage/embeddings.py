"""Embeddings that were made, found again by model, revision and text.

A text is known by its SHA-256 and never stored; a vector is its float32 numbers, little-endian. An embedding is written
once and never changed, in the transaction of the texts that were embedded with it.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, func, insert, select

from luthier.storage.db import Database
from luthier.storage.schema import cached_embeddings, embedding_models

_AT_ONCE = 500  # digests of one query


class EmbeddingStore:
    """Safe for many threads and processes.

    Args:
        limit: embeddings that are kept, of all models together; beyond it the oldest go.
    """

    def __init__(self, db: Database, limit: int) -> None:
        self._db = db
        self._limit = limit

    def model(self, name: str, revision: str) -> int:
        """The number under which embeddings of a model's revision are kept."""
        same = select(embedding_models.c.position).where(
            embedding_models.c.model == name, embedding_models.c.revision == revision
        )
        with self._db.read() as connection:
            if (known := connection.execute(same).scalar_one_or_none()) is not None:
                return int(known)
        with self._db.write() as connection:
            known = connection.execute(same).scalar_one_or_none()
            if known is None:  # nobody was faster
                connection.execute(insert(embedding_models).values(model=name, revision=revision))
                known = connection.execute(same).scalar_one()
            return int(known)

    def find(self, model: int, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """The vectors of those texts that are known, by digest."""
        found: dict[bytes, bytes] = {}
        with self._db.read() as connection:
            for some in _batched(digests):
                rows = connection.execute(
                    select(cached_embeddings.c.digest, cached_embeddings.c.vector).where(
                        cached_embeddings.c.model == model, cached_embeddings.c.digest.in_(some)
                    )
                )
                found.update((row.digest, row.vector) for row in rows)
        return found

    def add(self, model: int, vectors: Mapping[bytes, bytes]) -> None:
        """Keep vectors by digest; one that is there already stays."""
        digests = list(vectors)
        with self._db.write() as connection:
            known: set[bytes] = set()
            for some in _batched(digests):
                rows = connection.execute(
                    select(cached_embeddings.c.digest).where(
                        cached_embeddings.c.model == model, cached_embeddings.c.digest.in_(some)
                    )
                )
                known.update(row.digest for row in rows)
            new = [
                {"model": model, "digest": digest, "vector": vector}
                for digest, vector in vectors.items()
                if digest not in known
            ]
            if not new:
                return
            connection.execute(insert(cached_embeddings), new)
            # Rows go only from the front, so the newest one's number says from where on they are too many.
            newest = connection.execute(select(func.max(cached_embeddings.c.position))).scalar_one()
            connection.execute(delete(cached_embeddings).where(cached_embeddings.c.position <= newest - self._limit))


def _batched(digests: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (digests[at : at + _AT_ONCE] for at in range(0, len(digests), _AT_ONCE))
