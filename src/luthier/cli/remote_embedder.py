"""Embeddings made by any server that speaks the OpenAI API: several requests at a time, tried again when it is busy."""

import base64
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Self

import numpy as np

from luthier.cli import client
from luthier.config import Settings
from luthier.domain.embedding import manners_of
from luthier.embedding.cl100k import Cl100k
from luthier.errors import DataError, LuthierError, RateLimitError, UnavailableError
from luthier.modeling.bases import BaseStore
from luthier.services.embedder import LongTexts, name, of_length_1, refuse_blank, refuse_long
from luthier.services.embedding_cache import EmbeddingCache
from luthier.storage.db import Database
from luthier.storage.embeddings import EmbeddingStore
from luthier.types import Floats

_AT_ONCE = 4  # requests in flight
_TEXTS = 256  # of one request
_BYTES = 250_000  # of one request; OpenAI takes 300,000 tokens, and none is shorter than a byte
_ATTEMPTS = 8
_LONGEST_WAIT = 30.0  # seconds between two attempts
_PASSING = (RateLimitError, client.ConnectionBrokenError, UnavailableError)


class RemoteEmbedder:
    """Embeds through a server. Use it as a context manager.

    Args:
        url: base URL with its `/v1`; without a path it is added.
        limit: tokens of cl100k_base that the model reads at once; by default as OpenAI's model of that name.
        cached: look into this machine's cache and keep what comes, by URL and model.

    Raises:
        InvalidRequestError: the URL is none.
    """

    at_once = _AT_ONCE * _TEXTS  # texts that are worth a call

    def __init__(
        self,
        settings: Settings,
        model: str,
        url: str,
        api_key: str = "",
        *,
        long_texts: LongTexts = LongTexts.AVERAGE,
        limit: int | None = None,
        cached: bool = True,
    ) -> None:
        self._settings = settings
        self._model = model
        self._url = client.base_url(url)
        self._long_texts = long_texts
        self.max_tokens = limit or manners_of(model).max_tokens
        self._cached = cached
        self._opened = ExitStack()
        self._client = self._opened.enter_context(client.Client(self._url, api_key))
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._opened.callback(self._pool.shutdown, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def revision(self) -> str:
        """Where the embeddings come from: what a server has behind a name, it alone knows."""
        return self._url

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The embeddings of texts, (N, D).

        Raises:
            DataError: a text is blank, or too long and long ones are to be refused.
            LuthierError: the server refuses, is gone, or answers with something else.
        """
        self.check(texts)
        if self._cache is None:
            return of_length_1(self._make(texts))
        how = (self._long_texts.value, str(self.max_tokens))
        lookup = self._cache.look(self._model, self._url, texts, how)
        missing = [texts[at] for at in lookup.places]
        return of_length_1(self._cache.complete(lookup, self._make(missing) if missing else None))

    def check(self, texts: Sequence[str], rows: Sequence[int] | None = None) -> None:
        """
        Args:
            rows: of the texts, from 0, for the message.

        Raises:
            DataError: as a call would.
        """
        refuse_blank(texts, rows)
        if self._long_texts is LongTexts.REFUSE:
            for at, text in enumerate(texts):
                if len(text.encode()) > self.max_tokens:
                    refuse_long(name(at, rows), self._vocabulary.count(text), self.max_tokens)

    def count_cl100k(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as OpenAI counts them."""
        return [self._vocabulary.count(text) for text in texts]

    @cached_property
    def _vocabulary(self) -> Cl100k:
        return Cl100k(BaseStore(self._settings).vocabulary())

    @cached_property
    def _cache(self) -> EmbeddingCache | None:
        if not self._cached:
            return None
        database = Database.open(self._settings)
        self._opened.callback(database.close)
        return EmbeddingCache(EmbeddingStore(database, self._settings.embedding_cache_size))

    def _make(self, texts: Sequence[str]) -> Floats:
        pieces = [self._pieces(text) for text in texts]
        flat = [piece for own in pieces for piece, _ in own]
        vectors = of_length_1(np.concatenate(list(self._pool.map(self._ask, _requests(flat)))))  # (P, D)
        if len(flat) == len(texts):
            return vectors
        weights = np.array([weight for own in pieces for _, weight in own], dtype=np.float32)
        starts = np.cumsum([0, *(len(own) for own in pieces[:-1])])
        return np.add.reduceat(vectors * weights[:, None], starts, axis=0)  # a mean, once it has length 1

    def _pieces(self, text: str) -> list[tuple[str, int]]:
        """A text as the server gets it: pieces and their weights."""
        if len(text.encode()) <= self.max_tokens:
            return [(text, 1)]
        ids = self._vocabulary.encode(text)
        if len(ids) <= self.max_tokens:
            return [(text, 1)]
        parts = [ids[at : at + self.max_tokens] for at in range(0, len(ids), self.max_tokens)]
        if self._long_texts is LongTexts.TRUNCATE:
            del parts[1:]
        # A cut within a character leaves a part of it on each side, and nothing else of a piece that is one character.
        decoded = [(self._vocabulary.decode(part).strip("\ufffd"), len(part)) for part in parts]
        pieces = [(piece, weight) for piece, weight in decoded if piece.strip()]
        if not pieces:
            raise DataError(f"A limit of {self.max_tokens} tokens cuts within characters. Give a larger one.")
        return pieces

    def _ask(self, texts: Sequence[str]) -> Floats:
        body = {"model": self._model, "input": list(texts), "encoding_format": "base64"}
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._vectors(self._client.post("embeddings", body=body), len(texts))
            except LuthierError as error:
                if not isinstance(error, _PASSING) and error.status < 500:
                    raise
                if error.code in (client.NO_SERVER, "insufficient_quota"):  # waiting does not help
                    raise
            time.sleep(random.uniform(0.5, 1) * min(2.0**attempt, _LONGEST_WAIT))
        return self._vectors(self._client.post("embeddings", body=body), len(texts))

    def _vectors(self, answer: dict[str, Any], expected: int) -> Floats:
        """(N, D) of an answer, whose vectors are base64 or, of servers that do not know it, lists."""
        try:
            items = sorted(answer["data"], key=lambda item: item["index"])
            vectors = np.stack([_numbers(item["embedding"]) for item in items])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self._url} answered with something that is no list of embeddings: {error!r}.") from None
        if len(vectors) != expected:
            raise DataError(f"{self._url} gave {len(vectors)} embeddings for {expected} texts.")
        return vectors


def _numbers(embedding: str | list[float]) -> Floats:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4").astype(np.float32)
    return np.array(embedding, dtype=np.float32)


def _requests(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts of each request, at least one."""
    batch: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode())
        if batch and (len(batch) == _TEXTS or size + length > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    yield batch
