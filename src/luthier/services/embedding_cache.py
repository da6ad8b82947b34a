"""Embeddings that need not be made again: between those who ask and the store. No tensor, no model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from luthier.modeling.encoder_card import EncoderWeights
from luthier.modeling.pieces import Overlong
from luthier.storage.embeddings import EmbeddingStore
from luthier.types import Floats

_KINDS = "<f4"  # as vectors are stored


@dataclass(frozen=True)
class Lookup:
    """What the cache knows of some texts.

    Args:
        digests: of each text, in their order.
        known: vectors that were found, by digest.
        missing: those that were not, each once; by digest the text's place.
    """

    model: int
    digests: Sequence[bytes]
    known: dict[bytes, bytes]
    missing: dict[bytes, int]

    @property
    def places(self) -> list[int]:
        """Of the texts that must be embedded, each once."""
        return list(self.missing.values())


class EmbeddingCache:
    """Embeddings by (model, revision, text). Safe for many threads."""

    def __init__(self, store: EmbeddingStore) -> None:
        self._store = store
        self._number = lru_cache(maxsize=256)(store.model)

    def look(self, model: str, revision: str, texts: Sequence[str], how: Sequence[str] = ()) -> Lookup:
        """
        Args:
            how: what else an embedding depends on, such as a prompt before the text.
        """
        number = self._number(model, revision)
        prefix = json.dumps(list(how)).encode()
        digests = [hashlib.sha256(prefix + b"\0" + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known = self._store.find(number, list(dict.fromkeys(digests)))
        missing: dict[bytes, int] = {}
        for at, digest in enumerate(digests):
            if digest not in known:
                missing.setdefault(digest, at)
        return Lookup(number, digests, known, missing)

    def complete(self, lookup: Lookup, made: Floats | None) -> Floats:
        """Keep what was made of `lookup.places`, (M, D), and give the vectors of all texts, (N, D)."""
        vectors = dict(lookup.known)
        if made is not None and len(made):
            new = {digest: row.astype(_KINDS).tobytes() for digest, row in zip(lookup.missing, made, strict=True)}
            self._store.add(lookup.model, new)
            vectors |= new
        joined = b"".join(vectors[digest] for digest in lookup.digests)
        return np.frombuffer(joined, dtype=_KINDS).reshape(len(lookup.digests), -1).astype(np.float32)


def look(
    cache: EmbeddingCache,
    model: str,
    weights: EncoderWeights,
    texts: Sequence[str],
    prompt: str = "",
    overlong: Overlong = Overlong.SPLIT,
) -> Lookup:
    """What the cache knows of texts that the weights of a model are to embed."""
    return cache.look(model, weights.revision, texts, (prompt, overlong.value))
