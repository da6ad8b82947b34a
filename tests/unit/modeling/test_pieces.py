"""Texts become pieces within an encoder's limit, with its prompt and its special tokens."""

from pathlib import Path

import pytest

from luthier.domain.embedding import Side
from luthier.modeling.encoder_card import EncoderCard
from luthier.modeling.pieces import Overlong, PieceReader
from luthier.testing import make_tiny_encoder

END = 256  # the special token around a text of the tiny encoder; all others are bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(
        tmp_path_factory.mktemp("pieces") / "tiny", max_tokens=8, prompts={"query": "q:", "passage": "p:"}
    )


@pytest.fixture
def reader(folder: Path) -> PieceReader:
    return PieceReader(EncoderCard.read(folder))


def test_a_text_that_fits_is_one_piece(reader: PieceReader) -> None:
    (only,) = reader.read(["abcdef"])[0]
    assert (list(only.ids), only.weight, only.skipped, len(only)) == ([END, *b"abcdef", END], 6, 0, 8)


def test_an_empty_text_is_a_piece_of_special_tokens(reader: PieceReader) -> None:
    (only,) = reader.read([""])[0]
    assert (list(only.ids), only.weight) == ([END, END], 1)


def test_a_longer_text_is_split_without_loss(reader: PieceReader) -> None:
    pieces = reader.read(["abcdefghijklmno"])[0]
    assert [bytes(piece.ids[1:-1]) for piece in pieces] == [b"abcdef", b"ghijkl", b"mno"]
    assert [piece.weight for piece in pieces] == [6, 6, 3]
    assert all(piece.ids[0] == piece.ids[-1] == END for piece in pieces)


def test_or_cut(reader: PieceReader) -> None:
    (only,) = reader.read(["abcdefghijklmno"], overlong=Overlong.CUT)[0]
    assert bytes(only.ids[1:-1]) == b"abcdef"


def test_each_piece_has_the_prompt(reader: PieceReader) -> None:
    pieces = reader.read(["abcdef"], "q:")[0]
    assert [bytes(piece.ids[1:-1]) for piece in pieces] == [b"q:abcd", b"q:ef"]
    assert [piece.weight for piece in pieces] == [4, 2]


def test_prompts_by_side_of_a_search(folder: Path) -> None:
    card = EncoderCard.read(folder)
    assert [card.prompt(side) for side in (None, Side.QUERY, Side.DOCUMENT)] == ["", "q:", "p:"]
