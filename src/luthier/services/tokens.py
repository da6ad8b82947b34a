"""Tokens: how a model reads a text, so that lengths can be counted and biases be built."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.completion.legacy import token_text
from luthier.errors import InvalidRequestError
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
        tokenizer: key of the weights whose tokenizer it is.
        start_token_ids: what the model reads before every text; `prompt_tokens` of a completion counts them.
    """

    model: str
    tokenizer: str
    start_token_ids: tuple[int, ...]
    texts: tuple[Tokens, ...]


class TokenService:
    """What `/v1/tokenize` and `/v1/detokenize` do."""

    def __init__(self, models: ModelService) -> None:
        self._models = models

    def tokenize(self, model: str, texts: Sequence[str]) -> Reading:
        """Special tokens spelled out in a text are recognized, as they are in a prompt.

        Raises:
            InvalidRequestError: too many texts.
            NotFoundError: there is no such model.
            UnavailableError: its tokenizer cannot be had now.
        """
        _check_number(texts, "input")
        served = self._models.resolve(model)
        tokenizer = served.tokenizer
        read = tuple(_tokens(tokenizer, text, tokenizer.encode(text)) for text in texts)
        return Reading(model, served.base.key, tokenizer.start_ids, read)

    def detokenize(self, model: str, lists: Sequence[Sequence[int]]) -> Reading:
        """
        Raises:
            InvalidRequestError: too many lists, or an id that is no token.
            NotFoundError: there is no such model.
            UnavailableError: its tokenizer cannot be had now.
        """
        _check_number(lists, "token_ids")
        served = self._models.resolve(model)
        tokenizer = served.tokenizer
        for at, ids in enumerate(lists):
            for place, id_ in enumerate(ids):
                if not 0 <= id_ < tokenizer.vocab_size:
                    where = f" of list {at}" if len(lists) > 1 else ""
                    raise InvalidRequestError(
                        f"Token {place}{where} is {id_}, but the token ids of '{model}' go from 0 to "
                        f"{tokenizer.vocab_size - 1}.",
                        param="token_ids",
                    )
        read = tuple(_tokens(tokenizer, tokenizer.decode(ids), ids) for ids in lists)
        return Reading(model, served.base.key, tokenizer.start_ids, read)


def _check_number(items: Sequence[object], param: str) -> None:
    if len(items) > MAX_TEXTS:
        raise InvalidRequestError(
            f"{len(items)} texts are more than the {MAX_TEXTS} that one request may hold.", param=param
        )


def _tokens(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> Tokens:
    return Tokens(text, tuple(ids), tuple(token_text(tokenizer, id_) for id_ in ids))
