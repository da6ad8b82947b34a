"""Embeddings made in this process, for commands that need no server. Nothing is loaded before it is needed."""

from collections.abc import Sequence
from contextlib import ExitStack
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from luthier.catalogue.entry import Kind
from luthier.catalogue.pull import Report
from luthier.config import Settings
from luthier.domain.embedding import manners_of
from luthier.embedding.cl100k import Cl100k
from luthier.embedding.projection import CustomModels, projected
from luthier.errors import DataError, InvalidRequestError
from luthier.modeling.bases import BaseStore
from luthier.modeling.encoder_card import EncoderCard, EncoderWeights
from luthier.modeling.pieces import Overlong, PieceReader
from luthier.services.embedding_cache import EmbeddingCache, look
from luthier.storage.db import Database
from luthier.storage.embeddings import EmbeddingStore
from luthier.types import Floats

if TYPE_CHECKING:
    from luthier.embedding.batcher import EmbeddingEngine


_TINY = np.finfo(np.float32).tiny


class LongTexts(StrEnum):
    """What happens to a text of more tokens than the model reads at once."""

    REFUSE = "refuse"
    TRUNCATE = "truncate"  # only its beginning counts
    AVERAGE = "average"  # it is cut into pieces, whose embeddings are averaged by their tokens


class Embedder:
    """Embeds with weights on this machine, pulled when they are not here yet. Use it as a context manager.

    Texts that were embedded before come out of the cache: while all do, no weights are loaded.

    Args:
        model: a name that the catalogue knows, or a customized model.
        cached: look into the cache and keep what is made.
        pulling: told how far a pull is.

    Raises:
        NotFoundError: nobody knows the name.
        InvalidRequestError: its weights make no embeddings.
        WeightsError: they cannot be had.
    """

    at_once = 256  # texts that are worth a call

    def __init__(
        self,
        settings: Settings,
        model: str,
        *,
        long_texts: LongTexts = LongTexts.AVERAGE,
        cached: bool = True,
        pulling: Report | None = None,
    ) -> None:
        self._settings = settings
        self._custom = CustomModels(settings).find(model)
        root = self._custom.base if self._custom else model
        self._base = BaseStore(settings).ensure(root, pulling)
        if self._base.kind is not Kind.EMBEDDING:
            raise InvalidRequestError(
                f"The model '{model}' completes texts and makes no embeddings. Take one that does, such as "
                "'text-embedding-ada-002'."
            )
        self._weights = EncoderWeights.of(self._base)
        self._manners = manners_of(root)
        self._card = EncoderCard.read(self._base.path)
        if self._custom:
            self._custom.check(self._base, self._card.dimensions)
        self._prompt = self._card.prompt(self._manners.side)
        self._long_texts = long_texts
        self._overlong = Overlong.CUT if long_texts is LongTexts.TRUNCATE else Overlong.SPLIT
        self._opened = ExitStack()
        self._cached = cached

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def revision(self) -> str:
        """What tells this state of the weights, and of the matrix that customizes them, from another."""
        custom = f" {self._custom.id} {self._custom.created_at}" if self._custom else ""
        return f"{self._base.key} {self._weights.revision}{custom}"

    @property
    def max_tokens(self) -> int:
        """That the weights read at once, special ones included."""
        return self._card.max_tokens

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The embeddings of texts, (N, D).

        Raises:
            DataError: a text is empty, or too long and long ones are to be refused.
        """
        self.check(texts)
        if self._manners.joins_lines:
            texts = [text.replace("\n", " ") for text in texts]
        if self._cache is None:
            return self._finish(self._make(texts))
        lookup = look(self._cache, self._base.key, self._weights, texts, self._prompt, self._overlong)
        missing = [texts[at] for at in lookup.places]
        return self._finish(self._cache.complete(lookup, self._make(missing) if missing else None))

    def check(self, texts: Sequence[str], rows: Sequence[int] | None = None) -> None:
        """
        Args:
            rows: of the texts, from 0, for the message.

        Raises:
            DataError: as a call would.
        """
        refuse_blank(texts, rows)
        if self._long_texts is not LongTexts.REFUSE:
            return
        # Hardly any tokenizer makes more tokens than bytes: the others need no counting.
        suspects = [at for at, text in enumerate(texts) if len((self._prompt + text).encode()) > self.max_tokens - 8]
        for at, count in zip(suspects, self.count([texts[at] for at in suspects]), strict=True):
            refuse_long(name(at, rows), count, self.max_tokens)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the weights read it, special ones included."""
        return self._reader.count(texts, self._prompt) if texts else []

    def count_cl100k(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as OpenAI counts them."""
        return [self._vocabulary.count(text) for text in texts]

    @cached_property
    def _vocabulary(self) -> Cl100k:
        return Cl100k(BaseStore(self._settings).vocabulary())

    @cached_property
    def _reader(self) -> PieceReader:
        return PieceReader(self._card)

    @cached_property
    def _cache(self) -> EmbeddingCache | None:
        if not self._cached:
            return None
        database = Database.open(self._settings)
        self._opened.callback(database.close)
        return EmbeddingCache(EmbeddingStore(database, self._settings.embedding_cache_size))

    @cached_property
    def _engine(self) -> "EmbeddingEngine":
        from luthier.embedding.batcher import EmbeddingEngine  # torch is slow to import

        engine = EmbeddingEngine(self._settings)
        engine.start()
        self._opened.callback(engine.stop)
        return engine

    def _finish(self, vectors: Floats) -> Floats:
        """The base's embeddings as the model gives them."""
        if self._custom is None:
            return of_length_1(vectors)
        return projected(vectors, CustomModels(self._settings).matrix(self._custom))

    def _make(self, texts: Sequence[str]) -> Floats:
        return self._engine.submit(self._weights, texts, prompt=self._prompt, overlong=self._overlong).result()


def of_length_1(vectors: Floats) -> Floats:
    """Vectors, (N, D), brought to length 1; zeros stay."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
    return scaled


def name(at: int, rows: Sequence[int] | None) -> str:
    """How a message calls one of several texts: by its row, counted from 1, where it has one."""
    return f"Text {at + 1}" if rows is None else f"Row {rows[at] + 1}"


def refuse_blank(texts: Sequence[str], rows: Sequence[int] | None) -> None:
    """
    Raises:
        DataError: a text has nothing in it but space.
    """
    for at, text in enumerate(texts):
        if not text.strip():
            leave = "there is nothing to embed." if rows is None else "leave such rows out (--drop-empty)."
            raise DataError(f"{name(at, rows)} is empty: {leave}")


def refuse_long(what: str, count: int, limit: int) -> None:
    """
    Raises:
        DataError: there are more tokens than are read at once.
    """
    if count > limit:
        raise DataError(
            f"{what} has {count:,} tokens, and the model reads {limit:,} at once. Leave such texts out, or ask for "
            "--overlong truncate or --overlong average."
        )
