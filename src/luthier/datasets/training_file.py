"""A whole training file as tokens. Each error names file and line."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from luthier.datasets.conversations import ChatExample, PreferenceExample
from luthier.datasets.encode import EncodedExample, EncodedPair, encode_example
from luthier.datasets.examples import AnyExample, iterate_examples
from luthier.datasets.jsonl import Example
from luthier.datasets.turns import encode_chat, encode_preference
from luthier.errors import DataError
from luthier.types import ChatRenderer, Tokenizer

_MAX_LINE_BYTES = 64 << 20  # the upload's own limit is lower; this one guards files that never were uploaded

T = TypeVar("T")


def read_examples(
    path: Path, tokenizer: Tokenizer, max_tokens: int, template: ChatRenderer | None = None
) -> list[EncodedExample]:
    """The examples of a file of prompts and completions, or of conversations.

    Args:
        max_tokens: longest example allowed, prompt and completion together.
        template: the base's, for conversations.

    Raises:
        DataError: a line that is no such example, is longer than `max_tokens` or holds a token that the model lacks; a
            conversation without a template for it; or no example at all.
    """

    def encode(example: AnyExample) -> Iterable[EncodedExample]:
        if isinstance(example, Example):
            return [encode_example(example, tokenizer)]
        if isinstance(example, PreferenceExample):
            raise DataError("it is a preference example; those are for the method dpo.")
        return encode_chat(example, tokenizer, _needed(template))

    found = []
    for where, encoded in _encoded(path, encode):
        _check(encoded, where, tokenizer, max_tokens)
        found.append(encoded)
    return found


def read_pairs(path: Path, tokenizer: Tokenizer, max_tokens: int, template: ChatRenderer | None) -> list[EncodedPair]:
    """The pairs of a file of preferences.

    Args:
        max_tokens: longest input with one of its outputs allowed.
        template: the base's.

    Raises:
        DataError: as `read_examples`.
    """

    def encode(example: AnyExample) -> Iterable[EncodedPair]:
        if isinstance(example, Example | ChatExample):
            raise DataError("it is no preference example; the method dpo takes those alone.")
        return [encode_preference(example, tokenizer, _needed(template))]

    found = []
    for where, pair in _encoded(path, encode):
        for side in (pair.preferred, pair.other):
            _check(side, where, tokenizer, max_tokens)
        found.append(pair)
    return found


def _encoded(path: Path, encode: Callable[[AnyExample], Iterable[T]]) -> Iterator[tuple[str, T]]:
    """What `encode` makes of each line, and where that stands."""
    empty = True
    for number, example in iterate_examples(path, _MAX_LINE_BYTES):
        where = f"{path.name}, line {number}"
        try:
            for one in encode(example):
                yield where, one
        except DataError as error:
            raise DataError(f"{where}: {error.message}") from None
        empty = False
    if empty:
        raise DataError(f"{path.name} holds no examples.")


def _needed(template: ChatRenderer | None) -> ChatRenderer:
    if template is None:
        raise DataError("the base has no chat template, so it cannot be tuned on conversations.")
    return template


def _check(example: EncodedExample, where: str, tokenizer: Tokenizer, max_tokens: int) -> None:
    if lacking := [id_ for id_ in example.input_ids if id_ >= tokenizer.vocab_size]:
        raise DataError(
            f"{where}: it holds {tokenizer.decode(lacking[:1])!r}, a token of the model's tokenizer that the model "
            "itself was not made for. Leave it out."
        )
    if len(example.input_ids) > max_tokens:
        raise DataError(
            f"{where}: the example has {len(example.input_ids):,} tokens; the model takes {max_tokens:,}. Shorten or "
            "remove it (`luthier prepare` offers to)."
        )
