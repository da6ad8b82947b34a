"""Texts as the pieces that an encoder reads: token ids, each piece within the encoder's limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import takewhile

from tokenizers import Encoding, Tokenizer

from luthier.errors import WeightsError
from luthier.modeling.encoder_card import EncoderCard


class Overlong(StrEnum):
    """What happens to a text with more tokens than the weights read at once."""

    SPLIT = "split"  # into pieces, whose embeddings are averaged by their numbers of tokens
    CUT = "cut"  # only its beginning counts, as in sentence-transformers


@dataclass(frozen=True, slots=True)
class Piece:
    """A text, or a part of one.

    Args:
        ids: with special tokens and prompt.
        skipped: tokens at the start that pooling passes over.
        weight: tokens of the text itself, at least 1; pieces of one text are averaged by it.
    """

    ids: Sequence[int]
    skipped: int
    weight: int

    def __len__(self) -> int:
        return len(self.ids)


class PieceReader:
    """Turns texts into pieces. Safe for several threads.

    Raises:
        WeightsError: there is no tokenizer that can be read.
    """

    def __init__(self, card: EncoderCard) -> None:
        self._card = card
        path = card.transformer / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception for every kind of damage
            raise WeightsError(f"{path} cannot be read as a tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @cached_property
    def pad_id(self) -> int:
        """Fills up shorter rows where an encoder needs that; masked, so any id does."""
        return next((id_ for name in ("[PAD]", "<pad>") if (id_ := self._tokenizer.token_to_id(name)) is not None), 0)

    def read(self, texts: Sequence[str], prompt: str = "", overlong: Overlong = Overlong.SPLIT) -> list[list[Piece]]:
        """The pieces of each text, at least one.

        Args:
            prompt: put before each text; pieces of a split text have it each.
        """
        prompt_tokens = self._prompt_tokens(prompt)
        encodings = self._tokenizer.encode_batch(self._inputs(texts, prompt))
        return [self._pieces(encoding, prompt_tokens, overlong) for encoding in encodings]

    def count(self, texts: Sequence[str], prompt: str = "") -> list[int]:
        """Tokens of each text with its prompt and the special tokens, however many the encoder reads at once."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(self._inputs(texts, prompt))]

    def _inputs(self, texts: Sequence[str], prompt: str) -> list[str]:
        inputs = [prompt + text for text in texts]
        return [text.lower() for text in inputs] if self._card.lowercase else inputs

    def _pieces(self, encoding: Encoding, prompt_tokens: int, overlong: Overlong) -> list[Piece]:
        ids = encoding.ids
        before, after = _special_tokens(encoding)
        skipped = 0 if self._card.pools_prompt or not prompt_tokens else before + prompt_tokens
        head, body, tail = ids[: before + prompt_tokens], ids[before + prompt_tokens : len(ids) - after], []
        if after:
            tail = ids[-after:]
        room = max(self._card.max_tokens - len(head) - len(tail), 1)
        if len(body) <= room:
            return [Piece(ids, skipped, max(len(body), 1))]
        if overlong is Overlong.CUT:
            body = body[:room]
        parts = [body[at : at + room] for at in range(0, len(body), room)]
        return [Piece([*head, *part, *tail], skipped, len(part)) for part in parts]

    def _prompt_tokens(self, prompt: str) -> int:
        """Tokens of the prompt, special ones not counted."""
        if not prompt:
            return 0
        encoding = self._tokenizer.encode(prompt.lower() if self._card.lowercase else prompt)
        return len(encoding.ids) - sum(_special_tokens(encoding))


def _special_tokens(encoding: Encoding) -> tuple[int, int]:
    """How many special tokens stand before and after a text."""
    mask = encoding.special_tokens_mask
    before = sum(takewhile(bool, mask))
    return before, 0 if before == len(mask) else sum(takewhile(bool, reversed(mask)))
