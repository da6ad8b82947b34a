"""Where an assistant's turn is over."""

import json
from dataclasses import dataclass
from pathlib import Path

from luthier.modeling.chat_template import ChatTemplate
from luthier.types import Tokenizer


@dataclass(frozen=True)
class TurnEnds:
    """
    Args:
        ids: tokens that end a turn, the end of a text among them.
        text: words that do, for a template whose end of a turn is no token of its own; empty otherwise.
    """

    ids: frozenset[int]
    text: str = ""


def turn_ends(folder: Path, template: ChatTemplate, tokenizer: Tokenizer) -> TurnEnds:
    """The ends that a base's template, tokenizer and `generation_config.json` name.

    Args:
        folder: the base's.
    """
    ids = _generation_ends(folder) | ({tokenizer.eos_id} if tokenizer.eos_id is not None else set())
    end = template.end_of_turn
    tokens = tokenizer.encode(end)
    if len(tokens) == 1 and tokens[0] in tokenizer.special_ids:
        ids, end = {*ids, tokens[0]}, ""
    return TurnEnds(frozenset(id_ for id_ in ids if id_ < tokenizer.vocab_size), end)


def _generation_ends(folder: Path) -> set[int]:
    try:
        named = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return set()  # a file that transformers does without, too
    listed = named if isinstance(named, list) else [named]
    return {token for token in listed if isinstance(token, int)}
