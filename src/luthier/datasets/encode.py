"""Examples as token ids, ready to be trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.datasets.jsonl import Example, parse_example, read_lines
from luthier.errors import DataError
from luthier.types import Tokenizer

_MAX_LINE_BYTES = 64 << 20  # the upload's own limit is lower; this one guards files that never were uploaded


@dataclass(frozen=True)
class EncodedExample:
    """One example.

    Args:
        input_ids: (T,) prompt and completion, tokenized apart and joined, so that the border between them is always
            a border between tokens, as it is when the tuned model is asked.
        completion_mask: (T,) True where the token belongs to the completion.
        completion: the completion's text, the label of a classification.
    """

    input_ids: tuple[int, ...]
    completion_mask: tuple[bool, ...]
    completion: str


def encode_example(example: Example, tokenizer: Tokenizer) -> EncodedExample:
    """Tokenize one example.

    An empty prompt becomes the end-of-text token where the tokenizer has one: the completion's first token needs
    something before it to be predicted from.
    """
    prompt = [*tokenizer.start_ids, *tokenizer.encode(example.prompt)]
    if not prompt and tokenizer.eos_id is not None:
        prompt = [tokenizer.eos_id]
    completion = tokenizer.encode(example.completion)
    return EncodedExample(
        input_ids=(*prompt, *completion),
        completion_mask=(False,) * len(prompt) + (True,) * len(completion),
        completion=example.completion,
    )


def read_examples(path: Path, tokenizer: Tokenizer, max_tokens: int) -> list[EncodedExample]:
    """Read and tokenize a training file.

    Args:
        max_tokens: longest example allowed, prompt and completion together.

    Raises:
        DataError: a line that is no example, is longer than `max_tokens` or holds a token that the model lacks, or no
            example at all.
    """
    encoded = list(_iterate(path, tokenizer, max_tokens))
    if not encoded:
        raise DataError(f"{path.name} holds no examples.")
    return encoded


def _iterate(path: Path, tokenizer: Tokenizer, max_tokens: int) -> Iterator[EncodedExample]:
    for number, raw in read_lines(path, _MAX_LINE_BYTES):
        if raw is None:
            raise DataError(f"{path.name}, line {number}: it is longer than {_MAX_LINE_BYTES:,} bytes.")
        try:
            example = encode_example(parse_example(raw), tokenizer)
        except DataError as error:
            raise DataError(f"{path.name}, line {number}: {error.message}") from None
        if lacking := [id_ for id_ in example.input_ids if id_ >= tokenizer.vocab_size]:
            raise DataError(
                f"{path.name}, line {number}: it holds {tokenizer.decode(lacking[:1])!r}, a token of the model's "
                "tokenizer that the model itself was not made for. Leave it out."
            )
        if len(example.input_ids) > max_tokens:
            raise DataError(
                f"{path.name}, line {number}: the example has {len(example.input_ids):,} tokens; the model takes "
                f"{max_tokens:,}. Shorten or remove it (`luthier prepare` offers to)."
            )
        yield example
