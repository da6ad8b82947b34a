"""The shape in which the chat API reports tokens: an object for each."""

from collections.abc import Iterable
from dataclasses import dataclass

from luthier.completion.legacy import escaped
from luthier.domain.generation import TokenLogprob
from luthier.types import Tokenizer


@dataclass(frozen=True)
class ChatToken:
    """
    Args:
        token: its text; of a token that holds a part of a character, its bytes as `\\xe2\\x9a`.
        logprob: natural.
        bytes: of the token; joined, they are the text.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...]


@dataclass(frozen=True)
class ChatTokenLogprob(ChatToken):
    """A token of an answer, and the most likely ones in its place, most likely first."""

    top_logprobs: tuple[ChatToken, ...]


def describe_tokens(tokens: Iterable[TokenLogprob], tokenizer: Tokenizer, n_top: int) -> tuple[ChatTokenLogprob, ...]:
    """Generated tokens in the API's shape.

    Args:
        n_top: how many of the most likely tokens to name at each place, whether the chosen one is among them or not.
    """
    described = []
    for token in tokens:
        own = _token(tokenizer, token.token_id, token.logprob or 0.0)
        top = tuple(_token(tokenizer, token_id, logprob) for token_id, logprob in token.top[:n_top])
        described.append(ChatTokenLogprob(own.token, own.logprob, own.bytes, top))
    return tuple(described)


def _token(tokenizer: Tokenizer, token_id: int, logprob: float) -> ChatToken:
    data = tokenizer.token_bytes(token_id)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = escaped(data)
    return ChatToken(text, logprob, tuple(data))
