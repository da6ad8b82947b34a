"""The tokenizer of a base model, exact to the byte.

Token strings of the API, stop sequences and `echo` all need the bytes behind a token: a character of several
bytes may be spread over several tokens, and `decode` of one of them alone only gives U+FFFD.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from luthier.errors import WeightsError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")  # a byte that a SentencePiece vocabulary has no character for


class HFTokenizer:
    """A `tokenizer.json` as Luthier uses it; implements `luthier.types.Tokenizer`.

    Text that is encoded in two parts and joined must mean the same as in one, so the space that some SentencePiece
    tokenizers put before every text is switched off. `decode` joins `token_bytes`: nothing is stripped or cleaned.

    Args:
        folder: a base model's folder with `tokenizer.json`, and `tokenizer_config.json` or `config.json` for the
            token that ends a text.

    Raises:
        WeightsError: there is no tokenizer that can be read.
    """

    def __init__(self, folder: Path) -> None:
        card = _read_json(folder / "tokenizer.json")
        if not card:
            raise WeightsError(f"{folder} has no tokenizer.json. Luthier reads tokenizers in that format alone.")
        _without_prefix_space(card)
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(card))
        except Exception as error:  # the library raises plain Exception for every kind of damage
            raise WeightsError(f"{folder / 'tokenizer.json'} cannot be read as a tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        self._added = {id_: token.content for id_, token in added.items()}
        self.special_ids = frozenset(id_ for id_, token in added.items() if token.special)
        self._byte_of = BYTE_LEVEL_ALPHABET if "ByteLevel" in _decoder_types(card.get("decoder")) else None
        tokens = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.vocab_size = min(tokens, _embedding_rows(folder) or tokens)
        self.eos_id = self._end_of_text(folder)
        around = self._tokenizer.encode("", add_special_tokens=True).ids  # what the tokenizer puts around a text
        self.start_ids: tuple[int, ...] = tuple(id_ for id_ in around[:1] if id_ != self.eos_id)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token added. Special tokens spelled out in `text` are recognized."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`. Bytes that are no whole character become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for; of a special token, its name's.

        Empty for `start_ids`, which stand before a text without being part of it, and for an id that no token has:
        many models have more output rows than tokens.
        """
        if token_id in self.start_ids:
            return b""
        if token_id in self._added:
            return self._added[token_id].encode()
        token = self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if self._byte_of:
            return bytes(self._byte_of[character] for character in token)
        if byte := _BYTE_TOKEN.fullmatch(token):
            return bytes.fromhex(byte[1])
        return token.replace("▁", " ").encode()

    def _end_of_text(self, folder: Path) -> int | None:
        named = _read_json(folder / "tokenizer_config.json").get("eos_token")
        if isinstance(named, dict):
            named = named["content"]
        if named is not None:
            return self._tokenizer.token_to_id(named)
        ids = _read_json(folder / "config.json").get("eos_token_id")
        return ids[0] if isinstance(ids, list) else ids


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty when there is no such file."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    return content


def _embedding_rows(folder: Path) -> int | None:
    """How many tokens the model beside the tokenizer has vectors for; None when there is no model."""
    config = _read_json(folder / "config.json")
    rows: int | None = config.get("text_config", config).get("vocab_size")
    return rows


def _parts(component: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The steps of a tokenizer's component, which is absent, one step, or a sequence of them."""
    if component is None:
        return []
    return component[key] if component["type"] == "Sequence" else [component]


def _decoder_types(decoder: dict[str, Any] | None) -> set[str]:
    return {step["type"] for step in _parts(decoder, "decoders")}


def _without_prefix_space(card: dict[str, Any]) -> None:
    """Change a tokenizer's card so that it puts no space of its own before a text."""
    for step in _parts(card.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
        if "add_prefix_space" in step:
            step["add_prefix_space"] = False
    normalizer = card.get("normalizer")
    kept = [step for step in _parts(normalizer, "normalizers") if step["type"] != "Prepend"]
    card["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None


def _byte_level_alphabet() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for.

    GPT-2's table: printable Latin-1 characters stand for themselves, the other bytes for the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_LEVEL_ALPHABET = _byte_level_alphabet()
