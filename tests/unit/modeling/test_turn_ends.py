"""Where a turn is over, by the template, the tokenizer and the weights' own list."""

import json
from pathlib import Path

import pytest

from luthier.modeling.chat_template import ChatTemplate
from luthier.modeling.tokenizer import HFTokenizer
from luthier.modeling.turn_ends import TurnEnds, turn_ends
from luthier.testing import PLAIN_CHAT, ByteTokenizer


def _template(end: str) -> ChatTemplate:
    return ChatTemplate(PLAIN_CHAT.replace("<|end|>", end), {})


@pytest.mark.parametrize(
    ("end", "named", "expected"),
    [
        ("<|end|>", None, TurnEnds(frozenset({256}))),
        ("<|end|>", [256, 10], TurnEnds(frozenset({256, 10}))),
        ("<|end|>", 10, TurnEnds(frozenset({256, 10}))),
        ("<|end|>", 999, TurnEnds(frozenset({256}))),  # the model has no such token
        ("###", None, TurnEnds(frozenset({256}), "###")),
        ("", None, TurnEnds(frozenset({256}))),
    ],
)
def test_ends(tmp_path: Path, end: str, named: object, expected: TurnEnds) -> None:
    if named is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    assert turn_ends(tmp_path, _template(end), ByteTokenizer()) == expected


@pytest.mark.weights
def test_ends_of_ada(ada_folder: Path) -> None:
    template = ChatTemplate.of(ada_folder)
    assert template
    assert turn_ends(ada_folder, template, HFTokenizer(ada_folder)) == TurnEnds(frozenset({2}))
