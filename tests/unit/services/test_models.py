"""Names of models: what stands behind them, and deleting what was tuned."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.hyperparameters import Method
from luthier.domain.model import TunedModel
from luthier.errors import NotFoundError, PermissionDeniedError, UnavailableError, WeightsError
from luthier.modeling.bases import BaseStore
from luthier.services.models import ModelService
from luthier.storage.db import Database
from luthier.storage.models import TunedModelStore

NAME = "tiny:ft-personal-2023-03-14-18-36-10"


@pytest.fixture
def tuned(settings: Settings) -> Iterator[TunedModelStore]:
    database = Database.open(settings)
    yield TunedModelStore(database)
    database.close()


@pytest.fixture
def evicted() -> list[Path]:
    return []


@pytest.fixture
def bases(settings: Settings, tiny_base: Path) -> BaseStore:
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.aliases_path.write_text(f"[aliases]\ntiny = '{tiny_base.as_posix()}'\n", encoding="utf-8")
    return BaseStore(settings)


@pytest.fixture
def service(settings: Settings, bases: BaseStore, tuned: TunedModelStore, evicted: list[Path]) -> ModelService:
    return ModelService(settings, bases, bases.registry, tuned, evicted.append)


def add(settings: Settings, tuned: TunedModelStore, base: Path, **changes: object) -> TunedModel:
    fields: dict[str, object] = {
        "id": NAME,
        "root": base.as_posix(),
        "parent": "tiny",
        "method": Method.LORA,
        "folder": "tuned-1",
        "job_id": "ft-1",
        "created_at": 1_678_818_970,
    }
    model = tuned.add(TunedModel(**{**fields, **changes}))  # type: ignore[arg-type]
    folder = settings.tuned_dir / model.folder
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    return model


def test_a_base(service: ModelService, tiny_base: Path):
    model = service.resolve("tiny")
    assert model.weights == Weights(tiny_base)
    assert (model.id, model.tuned, model.context_length) == ("tiny", None, 512)
    assert model.tokenizer.encode("a") == [97]


def test_a_folder_as_a_name(service: ModelService, tiny_base: Path):
    assert service.resolve(tiny_base.as_posix()).weights == Weights(tiny_base)
    assert service.get(tiny_base.as_posix()).details.pulled


def test_an_adapter_stands_on_its_base(
    service: ModelService, settings: Settings, tuned: TunedModelStore, tiny_base: Path
):
    model = add(settings, tuned, tiny_base)
    served = service.resolve(NAME)
    assert served.weights == Weights(tiny_base, settings.tuned_dir / "tuned-1")
    assert served.tuned == model


def test_fully_tuned_weights_are_a_base_of_their_own(
    service: ModelService, settings: Settings, tuned: TunedModelStore, tiny_base: Path
):
    add(settings, tuned, tiny_base, method=Method.FULL)
    assert service.resolve(NAME).weights == Weights(settings.tuned_dir / "tuned-1")


@pytest.mark.parametrize(
    "name",
    [
        "nobody",
        "tiny:ft-personal-2024",
        "ft:tiny:personal::abc",
        "",
        "~no-such-user/x",
        "/" + "a" * 300,
        "hf:a/" + "b" * 300,
        "/\0",
    ],
)
def test_unknown_names(service: ModelService, name: str):
    for ask in (service.get, service.resolve, service.delete):
        with pytest.raises(NotFoundError, match="does not exist") as caught:
            ask(name)
        assert caught.value.code == "model_not_found"


def test_weights_that_cannot_be_had(service: ModelService, bases: BaseStore, monkeypatch: pytest.MonkeyPatch):
    def fail(_: str) -> None:
        raise WeightsError("The index does not answer.")

    monkeypatch.setattr(bases, "ensure", fail)
    with pytest.raises(UnavailableError, match=r"'tiny' cannot answer now: The index does not answer\."):
        service.resolve("tiny")


def test_cards(service: ModelService, settings: Settings, tuned: TunedModelStore, tiny_base: Path):
    add(settings, tuned, tiny_base, step=8)
    cards = {card.id: card for card in service.list()}
    assert list(cards)[-1] == NAME
    base, card = cards["tiny"], cards[NAME]
    assert (base.owned_by, base.root, base.parent) == ("luthier", "tiny", None)
    assert (base.details.weights, base.details.pulled) == (tiny_base.as_posix(), True)
    assert (base.details.context_length, base.details.note) == (512, None)
    assert base.created == int((tiny_base / "config.json").stat().st_mtime)
    assert (card.owned_by, card.parent, card.created) == ("personal", "tiny", 1_678_818_970)
    assert (card.details.method, card.details.job_id, card.details.step) == (Method.LORA, "ft-1", 8)
    assert service.get(NAME) == card
    assert card.permission[0].allow_sampling
    assert not card.permission[0].is_blocking


def test_a_base_that_is_not_pulled_is_listed(service: ModelService):
    card = service.get("ada")
    assert (card.created, card.details.pulled, card.details.license) == (0, False, "Apache-2.0")


def test_a_stand_in_says_so(service: ModelService):
    assert "no weights of its own" in (service.get("curie").details.note or "")


def test_a_tuned_model_whose_base_left_the_alias_file_is_still_listed_and_deletable(
    service: ModelService, settings: Settings, tuned: TunedModelStore, tiny_base: Path
):
    add(settings, tuned, tiny_base, root="gone")
    assert "cannot answer now" in (service.get(NAME).details.note or "")
    assert service.list()[-1].id == NAME
    service.delete(NAME)


def test_a_folder_that_is_gone_does_not_break_the_list(service: ModelService, settings: Settings, tiny_base: Path):
    settings.aliases_path.write_text(f"[aliases]\nlost = '{tiny_base.as_posix()}-gone'\n", encoding="utf-8")
    bases = BaseStore(settings)
    cards = ModelService(settings, bases, bases.registry, service._tuned, lambda _: None).list()
    (lost,) = [card for card in cards if card.id == "lost"]
    assert not lost.details.pulled
    assert "cannot answer now" in (lost.details.note or "")


def test_deleting(
    service: ModelService, settings: Settings, tuned: TunedModelStore, tiny_base: Path, evicted: list[Path]
):
    add(settings, tuned, tiny_base)
    service.delete(NAME)
    folder = settings.tuned_dir / "tuned-1"
    assert evicted == [folder]
    assert not os.path.lexists(folder)
    with pytest.raises(NotFoundError):
        service.get(NAME)


def test_bases_are_not_deleted(service: ModelService, tiny_base: Path):
    with pytest.raises(PermissionDeniedError, match="is a base model"):
        service.delete("tiny")
    assert tiny_base.exists()
