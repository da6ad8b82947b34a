"""From tokens to text that may be shown: whole characters, and nothing that may be part of a stop text.

Works on bytes, because a token may hold a part of a character, and a stop text may begin in one token and end in
another.
"""

import codecs
from collections.abc import Sequence

from luthier.types import Tokenizer


class TextStream:
    """The text of one continuation as it grows.

    Args:
        tokenizer: gives the bytes of each token.
        stops: texts that end the continuation and are not part of it; none is empty.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = [stop.encode() for stop in stops]
        self._held = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # keeps incomplete characters back
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Add a token and return the text that is certain now. Sets `stopped` when a stop text is complete."""
        self._held += self._tokenizer.token_bytes(token_id)
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        if found:
            self.stopped = True
            certain, self._held = self._held[: min(found)], b""
            return self._decoder.decode(certain, final=True)
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        split = len(self._held) - keep
        certain, self._held = self._held[:split], self._held[split:]
        return self._decoder.decode(certain)

    def finish(self) -> str:
        """The text held back, now that no token follows. Bytes that are no whole character become U+FFFD."""
        rest, self._held = self._held, b""
        return self._decoder.decode(rest, final=True)


def _overlap(text: bytes, stop: bytes) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, shorter than it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
