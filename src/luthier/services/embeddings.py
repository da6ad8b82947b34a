"""Embeddings: from a request to the engine and back, in the form of the embeddings API."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.config import Settings
from luthier.domain.embedding import Manners
from luthier.embedding.batcher import EmbeddingEngine
from luthier.embedding.cl100k import Cl100k
from luthier.errors import InvalidRequestError, WeightsError, unavailable
from luthier.modeling.bases import BaseStore
from luthier.services.embedding_cache import EmbeddingCache, look
from luthier.services.limits import usage_reporter
from luthier.services.models import ModelService, ServedEncoder

MAX_INPUTS = 2048

Input = str | tuple[int, ...]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingRequest:
    """What `POST /v1/embeddings` asks.

    Args:
        model: a name that the catalogue knows, of weights that make embeddings.
        inputs: texts, or token ids of cl100k_base.
        dimensions: numbers to keep of each embedding, which is then brought to length 1 again; None for all.
    """

    model: str
    inputs: tuple[Input, ...]
    dimensions: int | None = None


@dataclass(frozen=True)
class EmbeddingResult:
    """Answer to a request.

    Args:
        model: the name asked for.
        vectors: (N, D) in the order of the inputs, each of length 1.
        prompt_tokens: of all inputs, counted in cl100k_base.
    """

    model: str
    vectors: Vectors
    prompt_tokens: int


@dataclass(frozen=True)
class _Prepared:
    """A request that can be given to the engine."""

    encoder: ServedEncoder
    texts: list[str]
    prompt_tokens: int


class EmbeddingService:
    """What `/v1/embeddings` does.

    Args:
        settings: `embedding_width` lengthens embeddings by zeros.
        models: finds the weights.
        bases: has the vocabulary.
        engine: runs; started and stopped by its owner.
        cache: of embeddings that were made before; None to make all anew.
    """

    def __init__(
        self,
        settings: Settings,
        models: ModelService,
        bases: BaseStore,
        engine: EmbeddingEngine,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._width = settings.embedding_width
        self._models = models
        self._bases = bases
        self._engine = engine
        self._cache = cache

    async def create(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed the inputs of a request. When the waiting task is cancelled, so is the work.

        Raises:
            InvalidRequestError: naming the field that cannot be honoured.
            NotFoundError: there is no such model.
            RateLimitError: too many requests wait.
            UnavailableError: the weights cannot be had now, or the server is stopping.
        """
        prepared = await asyncio.to_thread(self._prepare, request)
        try:
            vectors = await self._embed(prepared)
        except WeightsError as error:
            raise unavailable(request.model, error) from error
        usage_reporter()(prepared.prompt_tokens)
        shaped = await asyncio.to_thread(_shape, vectors, prepared.encoder.matrix, request.dimensions, self._width)
        return EmbeddingResult(request.model, shaped, prepared.prompt_tokens)

    async def _embed(self, prepared: _Prepared) -> Vectors:
        """The engine's embeddings, or those that it made before."""
        encoder, texts, prompt = prepared.encoder, prepared.texts, prepared.encoder.prompt
        if self._cache is None:
            return await asyncio.wrap_future(self._engine.submit(encoder.weights, texts, prompt=prompt))
        lookup = await asyncio.to_thread(look, self._cache, encoder.base.key, encoder.weights, texts, prompt)
        made = None
        if lookup.missing:
            missing = [texts[at] for at in lookup.places]
            made = await asyncio.wrap_future(self._engine.submit(encoder.weights, missing, prompt=prompt))
        return await asyncio.to_thread(self._cache.complete, lookup, made)

    def _prepare(self, request: EmbeddingRequest) -> _Prepared:
        _check_inputs(request.inputs)
        encoder = self._models.resolve_encoder(request.model)
        try:
            vocabulary = cl100k(self._bases.vocabulary())
        except WeightsError as error:
            raise unavailable(request.model, error) from error
        self._check_dimensions(request, encoder)
        read = partial(_read, model=request.model, manners=encoder.manners, vocabulary=vocabulary)
        texts, counts = zip(*(read(at, item) for at, item in enumerate(request.inputs)), strict=True)
        return _Prepared(encoder, list(texts), sum(counts))

    def _check_dimensions(self, request: EmbeddingRequest, encoder: ServedEncoder) -> None:
        most = max(encoder.dimensions, self._width or 0)
        if request.dimensions is not None and not 1 <= request.dimensions <= most:
            raise InvalidRequestError(
                f"'dimensions' is {request.dimensions}, but the embeddings of '{request.model}' have {most} numbers: "
                f"ask for 1 to {most} of them.",
                param="dimensions",
            )


def _check_inputs(inputs: Sequence[Input]) -> None:
    """
    Raises:
        InvalidRequestError: no input, an empty one, or more than OpenAI takes; the first sentences are OpenAI's own.
    """
    reason = None
    if not inputs:
        reason = "It is an empty list."
    elif len(inputs) > MAX_INPUTS:
        reason = f"It has {len(inputs)} inputs; at most {MAX_INPUTS} go into one request."
    elif (empty := next((at for at, item in enumerate(inputs) if not item), None)) is not None:
        what = "an empty string" if inputs[empty] == "" else "an empty list of token ids"
        reason = f"It is {what}." if len(inputs) == 1 else f"Input {empty} is {what}."
    if reason:
        raise InvalidRequestError(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference. "
            + reason,
            param="input",
        )


def _read(at: int, item: Input, *, model: str, manners: Manners, vocabulary: Cl100k) -> tuple[str, int]:
    """An input's text as the model is to see it, and its number of tokens.

    Raises:
        InvalidRequestError: token ids that mean nothing here, or too many tokens.
    """
    if isinstance(item, str):
        # A text this long cannot have fewer tokens; counting them exactly would take long.
        least = -(-len(item.encode()) // vocabulary.longest)
        count = least if least > manners.max_tokens else vocabulary.count(item)
        text = item
    else:
        if not manners.takes_ids:
            raise InvalidRequestError(
                f"The model '{model}' does not take token ids: those of the first generation are GPT-2's, which this "
                "server does not have. Send text, or ask text-embedding-ada-002, which takes cl100k_base's.",
                param="input",
            )
        if (unknown := vocabulary.unknown(item)) is not None:
            raise InvalidRequestError(
                f"Token {unknown} of input {at} is {item[unknown]}, which is no token of cl100k_base, the "
                "vocabulary of embedding models. Send its ids, or text.",
                param="input",
            )
        count, text = len(item), ""
    if count > manners.max_tokens:
        raise InvalidRequestError(
            f"This model's maximum context length is {manners.max_tokens} tokens, however you requested {count} tokens "
            f"({count} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
            param="input",
            code="context_length_exceeded",
        )
    text = text or vocabulary.decode(item if isinstance(item, tuple) else ())
    return (text.replace("\n", " ") if manners.joins_lines else text), count


def _shape(vectors: Vectors, matrix: Vectors | None, dimensions: int | None, width: int | None) -> Vectors:
    """Customize, cut to the dimensions asked for, bring to length 1, and lengthen by zeros.

    Args:
        vectors: (N, D).
        matrix: (D, P) of a customized model.
        dimensions: of the result, when asked for.
        width: of the result otherwise, at least.
    """
    kept = (vectors if matrix is None else vectors @ matrix)[:, :dimensions]
    lengths = np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
    kept = (kept / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    missing = (dimensions or width or 0) - kept.shape[1]
    return np.pad(kept, ((0, 0), (0, missing))) if missing > 0 else kept


@cache
def cl100k(path: Path) -> Cl100k:
    """The vocabulary in a file, read once. Raises as `Cl100k`."""
    return Cl100k(path)
