"""Texts that must follow a grammar: which tokens may come next (llguidance).

A grammar is llguidance's own text, made of a JSON schema or written in its Lark; `services.formats` makes them.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from luthier.errors import InvalidRequestError
from luthier.types import Tokenizer

Mask = npt.NDArray[np.uint8]  # (V,), a one for each token that may follow

_LIMITS = LLParserLimits(verbose_errors=False)  # the parser's state says nothing to a caller


class Constraint:
    """What one continuation may be, as it grows.

    Errors come from `compile` and `accept` alone, so that a step with many requests in it fails for none of the others.
    """

    def __init__(self, matcher: LLMatcher, vocab_size: int, allowed: Mask | None = None) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._allowed = self._next() if allowed is None else allowed

    @classmethod
    def compile(cls, grammar: str, tokenizer: Tokenizer, ends: frozenset[int]) -> "Constraint":
        """
        May take a second for the first grammar of a tokenizer, and for a large one.

        Args:
            ends: tokens that end a text where the grammar lets it end; at least one.

        Raises:
            InvalidRequestError: the grammar cannot be followed; the message is the library's reason.
        """
        matcher = LLMatcher(_tokenizer(tokenizer, ends), grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise InvalidRequestError(_reason(matcher))
        return cls(matcher, tokenizer.vocab_size)

    def fork(self) -> "Constraint":
        """Another continuation, as far as this one."""
        return Constraint(self._matcher.deep_copy(), self._vocab_size, self._allowed)

    @property
    def complete(self) -> bool:
        """Whether nothing may follow any more."""
        return self._matcher.is_stopped()

    def restrict(self, row: torch.Tensor) -> None:
        """Make the tokens that may not follow impossible, in place.

        Args:
            row: logits, (V,); V may be larger than the tokenizer's vocabulary.
        """
        forbidden = torch.ones(len(row), dtype=torch.bool)  # (V,)
        forbidden[: self._vocab_size] = torch.from_numpy(self._allowed == 0)
        row[forbidden.to(row.device)] = -torch.inf

    def accept(self, token_id: int) -> None:
        """Go on by a token that `restrict` left possible.

        Raises:
            InvalidRequestError: the grammar has led to more possibilities than the library follows.
        """
        if not self._matcher.consume_token(token_id):
            raise self._error()
        self._allowed = self._next()

    def _next(self) -> Mask:
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error() or not mask.any():
            raise self._error()
        return np.unpackbits(mask, bitorder="little", count=self._vocab_size)

    def _error(self) -> InvalidRequestError:
        return InvalidRequestError(f"Nothing can follow here, or too many things can: {_reason(self._matcher)}")


def _reason(matcher: LLMatcher) -> str:
    """The library's own words, on one line."""
    return " ".join(matcher.get_error().removesuffix("<non-verbose/>").split())


class _Vocabulary:
    """A tokenizer in the words of llguidance."""

    def __init__(self, tokenizer: Tokenizer, ends: frozenset[int]) -> None:
        self.eos_token_id = min(ends)
        self.bos_token_id = None
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted(id_ for id_ in tokenizer.special_ids | ends if id_ < tokenizer.vocab_size)
        self._tokenizer = tokenizer

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", errors="replace"))


@lru_cache(maxsize=8)
def _tokenizer(tokenizer: Tokenizer, ends: frozenset[int]) -> LLTokenizer:
    wrapper = TokenizerWrapper(_Vocabulary(tokenizer, ends))
    return LLTokenizer(wrapper, n_vocab=tokenizer.vocab_size, eos_token=sorted(ends))
