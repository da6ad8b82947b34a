"""A whole training file as tokens. Each error names file and line."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from luthier.datasets.conversations import ChatExample, PreferenceExample
from luthier.datasets.encode import EncodedExample, EncodedPair, encode_example
from luthier.datasets.examples import AnyExample, iterate_examples
from luthier.datasets.jsonl import Example
from luthier.datasets.lengths import TooLong
from luthier.datasets.turns import encode_chat, encode_preference
from luthier.errors import DataError
from luthier.types import ChatRenderer, Tokenizer

_MAX_LINE_BYTES = 64 << 20  # the upload's own limit is lower; this one guards files that never were uploaded

T = TypeVar("T")


def read_examples(
    path: Path,
    tokenizer: Tokenizer,
    max_tokens: int,
    template: ChatRenderer | None = None,
    *,
    name: str | None = None,
) -> list[EncodedExample]:
    """The examples of a file of prompts and completions, or of conversations.

    Args:
        max_tokens: longest example allowed, prompt and completion together.
        template: the base's, for conversations.
        name: the file's, as its owner knows it; of `path` unless given.

    Raises:
        DataError: a line that is no such example or holds a token that the model lacks; a conversation without a
            template for it; lines longer than `max_tokens`, the first of them all named; or no example at all.
    """

    def encode(example: AnyExample) -> Iterable[EncodedExample]:
        if isinstance(example, Example):
            return [encode_example(example, tokenizer)]
        if isinstance(example, PreferenceExample):
            raise DataError("it is a preference example; those are for the method dpo.")
        return encode_chat(example, tokenizer, _needed(template))

    return _checked(path, encode, lambda example: (example,), tokenizer, max_tokens, name or path.name)


def read_pairs(
    path: Path, tokenizer: Tokenizer, max_tokens: int, template: ChatRenderer | None, *, name: str | None = None
) -> list[EncodedPair]:
    """The pairs of a file of preferences.

    Args:
        max_tokens: longest input with one of its outputs allowed.
        template: the base's.
        name: as in `read_examples`.

    Raises:
        DataError: as `read_examples`.
    """

    def encode(example: AnyExample) -> Iterable[EncodedPair]:
        if isinstance(example, Example | ChatExample):
            raise DataError("it is no preference example; the method dpo takes those alone.")
        return [encode_preference(example, tokenizer, _needed(template))]

    return _checked(path, encode, lambda pair: (pair.preferred, pair.other), tokenizer, max_tokens, name or path.name)


def _checked(
    path: Path,
    encode: Callable[[AnyExample], Iterable[T]],
    sequences: Callable[[T], Iterable[EncodedExample]],
    tokenizer: Tokenizer,
    max_tokens: int,
    name: str,
) -> list[T]:
    """What `encode` makes of each line; `sequences` are those of it that go through the model."""
    found: list[T] = []
    too_long = TooLong(max_tokens)
    number = 0
    for number, example in iterate_examples(path, _MAX_LINE_BYTES):
        try:
            for one in encode(example):
                found.append(one)
                for sequence in sequences(one):
                    _check_known(sequence, tokenizer)
                    too_long.look(number, len(sequence.input_ids))
        except DataError as error:
            raise DataError(f"{name}, line {number}: {error.message}") from None
    if not number:
        raise DataError(f"{name} holds no examples.")
    if message := too_long.message(name):
        raise DataError(message)
    return found


def _needed(template: ChatRenderer | None) -> ChatRenderer:
    if template is None:
        raise DataError("the base has no chat template, so it cannot be tuned on conversations.")
    return template


def _check_known(example: EncodedExample, tokenizer: Tokenizer) -> None:
    if lacking := [id_ for id_ in example.input_ids if id_ >= tokenizer.vocab_size]:
        raise DataError(
            f"it holds {tokenizer.decode(lacking[:1])!r}, a token of the model's tokenizer that the model itself was "
            "not made for. Leave it out."
        )
