"""OpenAI's vocabulary cl100k_base: what an embedding's tokens are counted in, and what token ids of inputs mean.

It has nothing to do with the tokenizer of the weights that answer: those read text.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

import tiktoken

from luthier.errors import WeightsError

# How the vocabulary's publisher cuts a text before it is tokenized (tiktoken, cl100k_base).
_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}


class Cl100k:
    """The vocabulary in a file of lines `base64 rank`; implements `luthier.types.Tokenizer`. Safe for several threads.

    Raises:
        WeightsError: the file cannot be read as that.
    """

    eos_id: int | None = _SPECIAL["<|endoftext|>"]
    start_ids: tuple[int, ...] = ()
    special_ids: frozenset[int] = frozenset()  # no text means one: spelled out, they are text like any other

    def __init__(self, path: Path) -> None:
        try:
            lines = (line.split() for line in path.read_bytes().splitlines() if line)
            ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"The vocabulary in {path} cannot be read: {error}. Remove its folder; it is then pulled again."
            ) from None
        self._encoding = tiktoken.Encoding(
            "cl100k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=_SPECIAL
        )
        self.vocab_size = self._encoding.n_vocab  # not every id below has a token, see `unknown`
        self._ids = frozenset(ranks.values()) | frozenset(_SPECIAL.values())
        self.longest = max(map(len, ranks))  # bytes of a token; bounds from below how many tokens a text has

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Special tokens spelled out in it are text like any other."""
        return self._encoding.encode_ordinary(text)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        return self._encoding.decode_single_token_bytes(token_id)

    def count(self, text: str) -> int:
        """Tokens of a text. Special tokens spelled out in it are text like any other."""
        return len(self._encoding.encode_ordinary(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids. Bytes that are no whole character become U+FFFD."""
        return self._encoding.decode(ids, errors="replace")

    def unknown(self, ids: Sequence[int]) -> int | None:
        """Place of the first id that is no token, None when all are."""
        return next((at for at, id_ in enumerate(ids) if id_ not in self._ids), None)
