"""Protocols and aliases that several floors share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]  # texts → (N, D), in their order, each of length 1
Complete = Callable[[str], str]  # prompt → what a completion model goes on with


class Tokenizer(Protocol):
    """What the house asks of a tokenizer. `modeling.tokenizer` has the real one, `luthier.testing` a fake of bytes."""

    eos_id: int | None
    vocab_size: int  # ids below it may go through the model; `encode` may give others, if the model lacks added tokens
    start_ids: tuple[int, ...]  # what the base wants before every text, such as Gemma's <bos>; they have no bytes
    special_ids: frozenset[int]  # tokens that steer, such as the ends of turns; no text of a user's means them

    def __hash__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token added: a text from its beginning is `start_ids` and these."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`. Bytes that are no whole character become U+FFFD."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        ...


class ChatRenderer(Protocol):
    """What the house asks of a chat template. `modeling.chat_template` has the real one."""

    @property
    def takes_tools(self) -> bool:
        """Whether tools come out in the text."""
        ...

    @property
    def takes_names(self) -> bool:
        """Whether the `name` of a message's author comes out in the text."""
        ...

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool,
    ) -> str:
        """A conversation as one text, special tokens spelled out.

        Raises:
            InvalidRequestError: the template refuses this conversation, for its own reason.
        """
        ...
