"""The shape in which the completions API reports tokens: strings, log probabilities and offsets."""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

from luthier.domain.generation import TokenLogprob
from luthier.types import Tokenizer


@dataclass(frozen=True)
class Logprobs:
    """Four lists of one length, an entry for each token.

    Args:
        tokens: their texts, see `token_text`.
        token_logprobs: natural logs; None for the first token of a prompt.
        top_logprobs: token text → log probability, most likely first; None for the first token of a prompt.
        text_offset: the character of the choice's text in which each token begins.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """A token's own text, or `bytes:\\xe2\\x9a` where it holds a part of a character, so that no two look alike."""
    data = tokenizer.token_bytes(token_id)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + escaped(data)


def escaped(data: bytes) -> str:
    """Bytes as `\\xe2\\x9a`."""
    return "".join(f"\\x{byte:02x}" for byte in data)


class LogprobsWriter:
    """Writes the tokens of one choice in the API's shape, as they come.

    Args:
        offset: characters of the choice's text before the first token.
    """

    def __init__(self, tokenizer: Tokenizer, offset: int = 0) -> None:
        self._tokenizer = tokenizer
        self._offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(self, tokens: Iterable[TokenLogprob], n_echoed: int = 0) -> Logprobs:
        """The next tokens. Offsets go on from the last call.

        Args:
            n_echoed: how many of them, from the first on, stand in the text because the prompt spelled them out. Among
                the others, the token that ends a text is no part of it.
        """
        written = Logprobs([], [], [], [])
        for at, token in enumerate(tokens):
            written.tokens.append(token_text(self._tokenizer, token.token_id))
            written.token_logprobs.append(token.logprob)
            written.top_logprobs.append(None if token.logprob is None else self._top(token))
            written.text_offset.append(self._offset)
            if at < n_echoed or token.token_id != self._tokenizer.eos_id:
                self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(token.token_id)))
        return written

    def _top(self, token: TokenLogprob) -> dict[str, float]:
        """The most likely tokens by text. The chosen one keeps its value should another have the same text."""
        top: dict[str, float] = {}
        for token_id, logprob in token.top:
            top.setdefault(token_text(self._tokenizer, token_id), logprob)
        if token.logprob is not None:
            top[token_text(self._tokenizer, token.token_id)] = token.logprob
        return top
