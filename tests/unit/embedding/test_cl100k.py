"""The vocabulary that inputs are counted in."""

from pathlib import Path

import pytest

from luthier.config import load_settings
from luthier.embedding.cl100k import Cl100k
from luthier.errors import LuthierError, WeightsError
from luthier.modeling.bases import BaseStore
from luthier.testing import make_byte_vocabulary


@pytest.fixture
def bytes_only(tmp_path: Path) -> Cl100k:
    return Cl100k(make_byte_vocabulary(tmp_path))


def test_tokens_are_counted_and_read_back(bytes_only: Cl100k) -> None:
    assert bytes_only.count("naïve") == 6
    assert bytes_only.decode("naïve".encode()) == "naïve"
    assert bytes_only.longest == 1


def test_special_tokens_are_text_when_spelled_out_and_text_when_sent(bytes_only: Cl100k) -> None:
    assert bytes_only.count("<|endoftext|>") == 13
    assert bytes_only.decode([97, 100257]) == "a<|endoftext|>"


def test_half_a_character_becomes_a_replacement(bytes_only: Cl100k) -> None:
    assert bytes_only.decode([97, 0xC3]) == "a\ufffd"


def test_ids_that_are_no_tokens_are_found(bytes_only: Cl100k) -> None:
    assert bytes_only.unknown([0, 255, 100257, 100276]) is None
    assert [bytes_only.unknown([0, wrong]) for wrong in (256, -1, 100261, 100277)] == [1, 1, 1, 1]


@pytest.mark.parametrize("content", ["not base64 1", "YQ==", "YQ== one"])
def test_a_damaged_file_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cl100k_base.tiktoken"
    path.write_text(content)
    with pytest.raises(WeightsError, match=r"cannot be read.*pulled again"):
        Cl100k(path)


@pytest.mark.weights
def test_the_real_vocabulary_is_openais() -> None:
    try:
        vocabulary = Cl100k(BaseStore(load_settings()).vocabulary())
    except LuthierError as error:
        pytest.skip(f"the vocabulary is not at hand: {error.message}")
    ids = [83, 1609, 5963, 374, 2294, 0]  # of "tiktoken is great!", as OpenAI's cookbook prints them
    assert vocabulary.decode(ids) == "tiktoken is great!"
    assert vocabulary.count("tiktoken is great!") == len(ids)
    assert vocabulary.count("안녕하세요") == 5
    assert vocabulary.count(" " * 200) <= 4
