"""Customized models on disk: kept, found, replaced, deleted, and refused on other weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.catalogue.entry import Entry, FolderSource
from luthier.catalogue.tables import UNTRIED_RATES
from luthier.config import Settings
from luthier.embedding.projection import CustomModel, CustomModels, custom_name, projected, revision_of
from luthier.errors import ConflictError, InvalidRequestError, NotFoundError, WeightsError
from luthier.modeling.bases import LocalBase

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def card(name: str = "one", **changes: object) -> CustomModel:
    made = CustomModel(
        id=custom_name("base", name),
        base="base",
        key="key",
        revision="revision",
        width=4,
        dimensions=3,
        threshold=0.4,
        created_at=0,
        figures={"after": {"accuracy": 0.9}},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def models(settings: Settings) -> CustomModels:
    return CustomModels(settings)


@pytest.fixture
def base(tmp_path: Path) -> LocalBase:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"some numbers")
    return LocalBase("key", folder, Entry("key", "title", FolderSource(folder), UNTRIED_RATES))


def test_a_model_comes_back_as_it_was_kept(models: CustomModels) -> None:
    folder = models.save(card(created_at=5), MATRIX)
    assert sorted(path.name for path in folder.iterdir()) == ["matrix.safetensors", "model.json"]
    found = models.find("base:custom-one")
    assert found == card(created_at=5)
    assert models.matrix(found).tolist() == MATRIX.tolist()
    assert models.find("base:custom-two") is None
    assert models.find("base") is None


def test_models_of_bases_that_are_named_alike_are_two(models: CustomModels) -> None:
    models.save(card(created_at=1), MATRIX)
    models.save(card(id="/a/folder:custom-one", base="/a/folder", created_at=2), MATRIX)
    assert [one.base for one in models.list()] == ["base", "/a/folder"]


def test_a_name_is_taken_once(models: CustomModels) -> None:
    models.save(card(), MATRIX)
    with pytest.raises(ConflictError, match="--replace"):
        models.save(card(), MATRIX)
    models.save(card(), MATRIX + 1, replaces=True)
    assert models.matrix(card()).tolist() == (MATRIX + 1).tolist()
    assert len(models.list()) == 1


def test_deleting(models: CustomModels) -> None:
    models.save(card(), MATRIX)
    models.delete("base:custom-one")
    assert models.list() == []
    with pytest.raises(NotFoundError):
        models.delete("base:custom-one")


def test_a_damaged_model_says_so_hides_no_other_and_can_be_deleted(models: CustomModels) -> None:
    models.save(card("two"), MATRIX)
    folder = models.save(card(), MATRIX)
    (folder / "matrix.safetensors").write_bytes(b"no matrix")
    with pytest.raises(WeightsError, match="customize again"):
        models.matrix(card())
    (folder / "model.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="customize again"):
        models.find("base:custom-one")
    assert [one.id for one in models.list()] == ["base:custom-two"]
    models.delete("base:custom-one")
    assert "base:custom-one" not in models


@pytest.mark.parametrize("wrong", ["", "-a", "a b", "a/b", "ä", "x" * 65, "a:b"])
def test_names_that_cannot_be(wrong: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot name a customized model"):
        custom_name("base", wrong)


def test_other_weights_are_refused(base: LocalBase) -> None:
    made = card(revision=revision_of(base))
    made.check(base, 4)
    with pytest.raises(InvalidRequestError, match="5 numbers"):
        made.check(base, 5)
    with pytest.raises(InvalidRequestError, match="now means other"):
        made.check(replace(base, key="other"), 4)
    (base.path / "model.safetensors").write_bytes(b"other numbers")
    with pytest.raises(InvalidRequestError, match="customize again"):
        made.check(base, 4)


def test_projected_vectors_have_length_1() -> None:
    made = projected(np.array([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32), MATRIX)
    assert made[0] == pytest.approx(MATRIX[0] / np.linalg.norm(MATRIX[0]))
    assert made[1].tolist() == [0, 0, 0]
