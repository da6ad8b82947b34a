"""A tokenizer without a vocabulary: one token is one byte."""

from collections.abc import Sequence

EOS_TEXT = "<|end|>"


class ByteTokenizer:
    """Implements `luthier.types.Tokenizer`: ids 0 to 255 are the bytes, 256 ends a text.

    `make_tiny_base` writes the same tokenizer as files.
    """

    eos_id: int | None = 256
    vocab_size = 257
    start_ids: tuple[int, ...] = ()
    special_ids = frozenset({256})

    def encode(self, text: str) -> list[int]:
        """The UTF-8 bytes of `text`; the end of text, spelled out, is its one token."""
        ids: list[int] = []
        for at, part in enumerate(text.split(EOS_TEXT)):
            ids += ([256] if at else []) + list(part.encode())
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        return EOS_TEXT.encode() if token_id == self.eos_id else bytes([token_id])
