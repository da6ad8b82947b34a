"""Every token's exact bytes, for both families of tokenizers."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from luthier.errors import WeightsError
from luthier.modeling.tokenizer import HFTokenizer
from luthier.testing import ByteTokenizer

TEXTS = [
    "",
    " baseball",
    "two\n\nlines\t",
    "日本語 😀 é",
    "  spaces   kept  ",
    "\x00\x7f",
    "don't 123,456",
    "<|end|> x",
]


@pytest.fixture
def byte_level(tmp_path: Path) -> HFTokenizer:
    """A byte-level BPE with some merges, as GPT-2's and SmolLM2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer.train_from_iterator(["日本語 日本語 😀 é, a line of plain words, two lines of words"] * 5, trainer)
    return opened(tokenizer, tmp_path)


@pytest.fixture
def sentence_piece(tmp_path: Path) -> HFTokenizer:
    """A vocabulary as Llama 2's: ▁ for spaces, bytes for what it lacks, a space put before every text."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "<|end|>", *bytes_, "▁", "a", "b", "▁a", "ab", "▁ab", "é"]
    vocabulary = {piece: id_ for id_, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "<|end|>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return opened(tokenizer, tmp_path)


def opened(tokenizer: Tokenizer, folder: Path) -> HFTokenizer:
    tokenizer.enable_truncation(3)  # some published tokenizers cut every text
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|end|>"}}))
    return HFTokenizer(folder)


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(
    kind: str, text: str, request: pytest.FixtureRequest
) -> None:
    tokenizer: HFTokenizer = request.getfixturevalue(kind)
    ids = tokenizer.encode(text)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_text_in_two_parts_is_the_text(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer: HFTokenizer = request.getfixturevalue(kind)
    assert tokenizer.decode(tokenizer.encode("a line ab") + tokenizer.encode(" ab")) == "a line ab ab"


def test_a_character_may_be_spread_over_tokens(sentence_piece: HFTokenizer) -> None:
    ids = sentence_piece.encode("語")
    assert [sentence_piece.token_bytes(i) for i in ids] == [b"\xe8", b"\xaa", b"\x9e"]
    assert sentence_piece.decode(ids[:2]) == "\ufffd"


def test_no_token_is_added_and_special_ones_are_known(sentence_piece: HFTokenizer) -> None:
    assert [sentence_piece.token_bytes(i) for i in sentence_piece.encode("ab ab")] == [b"ab", b" ab"]
    assert sentence_piece.encode("<|end|>") == [2] == [sentence_piece.eos_id]
    assert sentence_piece.token_bytes(2) == b"<|end|>"


def test_what_stands_before_every_text_is_known_and_has_no_bytes(sentence_piece: HFTokenizer, tiny_base: Path) -> None:
    assert sentence_piece.start_ids == (1,)
    assert sentence_piece.decode([*sentence_piece.start_ids, *sentence_piece.encode("ab")]) == "ab"
    assert HFTokenizer(tiny_base).start_ids == ByteTokenizer().start_ids == ()


def test_an_id_without_a_token_has_no_bytes(byte_level: HFTokenizer) -> None:
    assert byte_level.token_bytes(byte_level.vocab_size) == b""
    assert byte_level.token_bytes(byte_level.vocab_size - 1) != b""


def test_the_end_of_text_may_stand_in_the_models_configuration(byte_level: HFTokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").unlink()
    assert HFTokenizer(tmp_path).eos_id is None
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [0, 7]}))
    assert HFTokenizer(tmp_path).eos_id == byte_level.eos_id == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no tokenizer.json"), ("{", "is not JSON"), ('{"version": "1.0"}', "cannot be read as a tokenizer")],
)
def test_a_damaged_tokenizer_is_told(content: str | None, words: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(WeightsError, match=words):
        HFTokenizer(tmp_path)


@pytest.mark.parametrize("text", TEXTS)
def test_the_tiny_base_tokenizes_as_the_fake_does(text: str, tiny_base: Path) -> None:
    real, fake = HFTokenizer(tiny_base), ByteTokenizer()
    text = text + "<|end|>"
    assert real.encode(text) == fake.encode(text)
    assert real.decode(fake.encode(text)) == fake.decode(real.encode(text)) == text
    assert (real.eos_id, real.vocab_size) == (fake.eos_id, fake.vocab_size)


@pytest.mark.weights
def test_ada_tokenizes_as_transformers_does(ada_folder: Path) -> None:
    ours, theirs = HFTokenizer(ada_folder), AutoTokenizer.from_pretrained(ada_folder)
    for text in [*TEXTS, "A post.\n\n###\n\n", "<|im_start|>user\nhi<|im_end|>"]:
        assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
        assert ours.decode(ours.encode(text)) == text
    assert ours.eos_id == theirs.eos_token_id
    assert [len(ours.encode(word)) for word in (" baseball", " hockey", " edible", " inedible", " 4")] == [
        1,
        1,
        1,
        3,
        2,
    ]


@pytest.mark.weights
def test_every_token_of_ada_has_the_bytes_that_transformers_decodes(ada_folder: Path) -> None:
    ours, theirs = HFTokenizer(ada_folder), AutoTokenizer.from_pretrained(ada_folder)
    for id_ in range(ours.vocab_size):
        assert ours.decode([id_]) == theirs.decode([id_], clean_up_tokenization_spaces=False)


def test_tokens_that_the_model_has_no_vectors_for_are_beyond_the_vocabulary(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<|image|>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    lacking = HFTokenizer(folder)
    assert lacking.encode("a<|image|>") == [97, 257]
    assert lacking.vocab_size == 257
    (folder / "config.json").unlink()
    assert HFTokenizer(folder).vocab_size == 258
