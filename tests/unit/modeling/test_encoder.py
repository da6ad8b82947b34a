"""Sentence encoders compute what sentence-transformers computes with the same folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from luthier.errors import WeightsError
from luthier.modeling.encoder import Vectors, load_encoder
from luthier.modeling.encoder_card import EncoderCard
from luthier.modeling.pieces import Overlong
from luthier.testing import make_tiny_encoder

TEXTS = ["a", "", "two words", "A longer sentence, cut after thirty tokens.", "naïve café", "two words", " " * 40]
FLOAT32 = 0.999999
BF16 = 0.9995


def ours(folder: Path, texts: list[str], prompt: str = "", dtype: torch.dtype = torch.float32) -> Vectors:
    encoder = load_encoder(folder, dtype)
    return encoder.embed([pieces[0] for pieces in encoder.reader.read(texts, prompt, Overlong.CUT)])


def theirs(folder: Path, texts: list[str], prompt: str = "") -> Vectors:
    vectors: Vectors = SentenceTransformer(str(folder), device="cpu").encode(texts, prompt=prompt)
    return vectors


def cosines(a: Vectors, b: Vectors) -> Vectors:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("nd,nd->n", a, b) / lengths  # type: ignore[no-any-return]


@pytest.fixture
def change(tmp_path: Path) -> Callable[..., Path]:
    """Makes a tiny encoder and changes a file of it."""

    def changed(file: str = "", content: object = None, **options: object) -> Path:
        folder = make_tiny_encoder(tmp_path / "encoder", **options)  # type: ignore[arg-type]
        if file:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return changed


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta", "distilbert"])
def test_a_family_computes_the_same(change: Callable[..., Path], family: str) -> None:
    folder = change(family=family)
    mine = ours(folder, TEXTS)
    assert cosines(mine, theirs(folder, TEXTS)).min() >= FLOAT32
    assert np.linalg.norm(mine, axis=1) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(mine[2], mine[5], atol=1e-6)  # the same text; threads share a pass in parts


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_rows_of_all_widths_compute_the_same(change: Callable[..., Path], family: str) -> None:
    folder = change(family=family, max_tokens=100)
    texts = [
        "x" * length for length in (63, 1, 14, 98, 2, 15, 13, 31, 62, 29, 98, 46, 3, 64, 14, 80)
    ]  # over 512 tokens
    encoder = load_encoder(folder, torch.float32)
    pieces = [own[0] for own in encoder.reader.read(texts, "", Overlong.CUT)]
    unsorted = encoder._core([piece.ids for piece in pieces])
    alone = torch.cat([encoder._core([piece.ids]) for piece in pieces])
    torch.testing.assert_close(unsorted, alone, atol=1e-5, rtol=1e-5)
    assert cosines(ours(folder, texts), theirs(folder, texts)).min() >= FLOAT32


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_a_pooling_computes_the_same(change: Callable[..., Path], mode: str, include_prompt: bool) -> None:
    config = {"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": include_prompt}
    folder = change("1_Pooling/config.json", config)
    texts = ["a", "bcd", "ef"]
    assert cosines(ours(folder, texts, "q: "), theirs(folder, texts, "q: ")).min() >= FLOAT32


def test_poolings_are_laid_one_after_the_other(change: Callable[..., Path]) -> None:
    config = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    folder = change("1_Pooling/config.json", config)
    assert EncoderCard.read(folder).dimensions == 64
    assert cosines(ours(folder, TEXTS), theirs(folder, TEXTS)).min() >= FLOAT32


def test_projections_and_no_normalising_compute_the_same(change: Callable[..., Path]) -> None:
    kinds = ["Transformer", "Pooling", "Dense"]
    parts = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(zip(kinds, ("", "1_Pooling", "2_Dense"), strict=True))
    ]
    folder = change("modules.json", parts)
    config = {"in_features": 32, "out_features": 5, "bias": True}
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps({**config, "activation_function": "torch.nn.modules.activation.Tanh"})
    )
    drawn = torch.Generator().manual_seed(1)
    tensors = {"linear.weight": torch.randn(5, 32, generator=drawn), "linear.bias": torch.randn(5, generator=drawn)}
    save_file(tensors, folder / "2_Dense" / "model.safetensors")
    mine = ours(folder, TEXTS)
    assert mine.shape == (len(TEXTS), 5)
    np.testing.assert_allclose(mine, theirs(folder, TEXTS), atol=1e-5)


def test_texts_are_put_in_lower_case_where_the_folder_says_so(change: Callable[..., Path]) -> None:
    folder = change("sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": True})
    vectors = ours(folder, ["SHOUT", "shout"])
    assert np.array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("modules.json", {}, "does not list modules"),
        ("modules.json", [{"type": "x.Transformer", "path": "../elsewhere"}], "does not list modules"),
        ("modules.json", [{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"},
                          {"type": "x.WordWeights", "path": "2"}], "a module 'WordWeights'"),
        ("modules.json", [{"type": "x.Transformer", "path": ""}, {"type": "x.Normalize", "path": ""}], "in this order"),
        ("1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode": "median"}, "pooling .* 'median'"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused(
    change: Callable[..., Path], file: str, content: object, words: str
) -> None:
    with pytest.raises(WeightsError, match=words):
        load_encoder(change(file, content))


def test_a_folder_that_says_another_width_than_its_weights_have(change: Callable[..., Path]) -> None:
    folder = change("1_Pooling/config.json", {"embedding_dimension": 48, "pooling_mode": "mean"})
    with pytest.raises(WeightsError, match=r"of 32 numbers, and their folder says 48"):
        ours(folder, TEXTS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's kernels take a bias in the dtype of the scores alone")
def test_in_bfloat16_mpnets_bias_is_as_exact_as_in_float32(change: Callable[..., Path]) -> None:
    folder = change(family="mpnet")
    tensors = load_file(folder / "model.safetensors")
    (name,) = (name for name in tensors if "relative_attention_bias" in name)
    tensors[name] = torch.linspace(10.1, 11.3, tensors[name].numel()).view_as(tensors[name])  # bfloat16 has 20 of these
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    biases = []
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "luthier.modeling.packed_encoder.scaled_dot_product_attention",
                lambda query, _key, _value, attn_mask: biases.append(attn_mask) or query,
            )
            ours(folder, ["a whole text"], dtype=dtype)
    exact, found = biases[0], biases[len(biases) // 2]
    assert len(exact.unique()) > 15
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=0)


def test_other_weights_are_no_sentence_encoder(tiny_base: Path) -> None:
    with pytest.raises(WeightsError, match=r"no modules\.json"):
        load_encoder(tiny_base)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["text-embedding-3-small", "text-embedding-ada-002"])
def test_the_real_weights_compute_the_same(name: str, encoder_folder: Callable[[str], Path]) -> None:
    folder = encoder_folder(name)
    texts = [
        "The food was delicious and the waiter was friendly.",
        "Das Essen war köstlich; 맛있는 음식.",
        "def add(a, b):\n    return a + b",
        "I bought several of these canned dog food products. " * 60,  # more than either reads
    ]
    expected = theirs(folder, texts)
    assert cosines(ours(folder, texts), expected).min() >= FLOAT32
    assert cosines(ours(folder, texts, dtype=torch.bfloat16), expected).min() >= BF16
