"""Tokens: how a model reads a text, so that lengths can be counted and biases be built."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.catalogue.entry import Kind
from luthier.catalogue.vocabulary import CL100K_BASE
from luthier.completion.legacy import token_text
from luthier.embedding.cl100k import Cl100k
from luthier.errors import InvalidRequestError, UnavailableError, WeightsError
from luthier.modeling.bases import BaseStore
from luthier.services.embeddings import cl100k
from luthier.services.models import ModelService
from luthier.types import Tokenizer

MAX_TEXTS = 2048


@dataclass(frozen=True)
class Tokens:
    """One text and its tokens.

    Args:
        tokens: their own texts, as `logprobs` of completions show them.
    """

    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How a model reads several texts.

    Args:
        tokenizer: key of the weights whose tokenizer it is; `cl100k_base` for embedding models.
        start_token_ids: what the model reads before every text; `prompt_tokens` of a completion counts them.
    """

    model: str
    tokenizer: str
    start_token_ids: tuple[int, ...]
    texts: tuple[Tokens, ...]


class TokenService:
    """What `/v1/tokenize` and `/v1/detokenize` do."""

    def __init__(self, models: ModelService, bases: BaseStore) -> None:
        self._models = models
        self._bases = bases

    def tokenize(self, model: str, texts: Sequence[str]) -> Reading:
        """Special tokens spelled out in a text are recognized, as they are in a prompt.

        Raises:
            InvalidRequestError: too many texts, or a model of which no tokens are known.
            NotFoundError: there is no such model.
            UnavailableError: its tokenizer cannot be had now.
        """
        _check_number(texts, "input")
        key, tokenizer = self._tokenizer(model)
        read = tuple(_tokens(tokenizer, text, tokenizer.encode(text)) for text in texts)
        return Reading(model, key, tokenizer.start_ids, read)

    def detokenize(self, model: str, lists: Sequence[Sequence[int]]) -> Reading:
        """
        Raises:
            InvalidRequestError: too many lists, an id that is no token, or a model of which no tokens are known.
            NotFoundError: there is no such model.
            UnavailableError: its tokenizer cannot be had now.
        """
        _check_number(lists, "token_ids")
        key, tokenizer = self._tokenizer(model)
        for at, ids in enumerate(lists):
            if (place := _no_token(ids, tokenizer)) is not None:
                where = f" of list {at}" if len(lists) > 1 else ""
                raise InvalidRequestError(
                    f"Token {place}{where} is {ids[place]}, which is none of '{model}', whose token ids go from 0 to "
                    f"{tokenizer.vocab_size - 1}.",
                    param="token_ids",
                )
        read = tuple(_tokens(tokenizer, tokenizer.decode(ids), ids) for ids in lists)
        return Reading(model, key, tokenizer.start_ids, read)

    def _tokenizer(self, model: str) -> tuple[str, Tokenizer]:
        """The key and the tokenizer that stand behind a model's name."""
        if self._models.get(model).details.kind is not Kind.EMBEDDING:
            served = self._models.resolve(model)
            return served.base.key, served.tokenizer
        if not self._models.manners(model).takes_ids:
            raise InvalidRequestError(
                f"The tokens of '{model}' are not known here: those of the first generation are GPT-2's, which this "
                "server does not have. text-embedding-ada-002 and its successors have cl100k_base's.",
                param="model",
            )
        try:
            return CL100K_BASE.key, cl100k(self._bases.vocabulary())
        except WeightsError as error:
            raise UnavailableError(
                f"The tokens of '{model}' cannot be had now: {error.message}", param="model", code="model_not_available"
            ) from error


def _no_token(ids: Sequence[int], tokenizer: Tokenizer) -> int | None:
    """Place of the first id that the tokenizer does not have."""
    if isinstance(tokenizer, Cl100k):
        return tokenizer.unknown(ids)
    return next((place for place, id_ in enumerate(ids) if not 0 <= id_ < tokenizer.vocab_size), None)


def _check_number(items: Sequence[object], param: str) -> None:
    if len(items) > MAX_TEXTS:
        raise InvalidRequestError(
            f"{len(items)} texts are more than the {MAX_TEXTS} that one request may hold.", param=param
        )


def _tokens(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> Tokens:
    return Tokens(text, tuple(ids), tuple(token_text(tokenizer, id_) for id_ in ids))
