"""What a folder of weights must hold."""

import shutil
from pathlib import Path

import pytest

from luthier.catalogue.sources.folder import check
from luthier.errors import WeightsError


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "copy"))


def test_a_whole_folder_passes(tiny_base: Path) -> None:
    check(tiny_base)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(WeightsError, match=f"has no {name}"):
        check(copy)


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("[]", "does not hold a JSON object")])
def test_a_damaged_configuration_is_named(copy: Path, text: str, words: str) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=f"config.json {words}"):
        check(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused_by_name(copy: Path, name: str) -> None:
    (copy / "model.safetensors").rename(copy / name)
    with pytest.raises(WeightsError, match=rf"pickles only \({name}\)"):
        check(copy)


def test_no_weights_at_all(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no \*\.safetensors"):
        check(copy)


def test_weights_cut_short_are_told(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        check(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}')
    with pytest.raises(WeightsError, match=r"lacks model-00002-of-00002\.safetensors"):
        check(copy)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no folder"):
        check(tmp_path / "nowhere")
