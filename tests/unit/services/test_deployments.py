"""Deployments: loading, waiting, replacing, deleting, and what a restart makes of them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.deployment import DeploymentStatus, ScaleType
from luthier.domain.hyperparameters import Method
from luthier.domain.model import TunedModel
from luthier.errors import InvalidRequestError, NotFoundError, WeightsError
from luthier.modeling.bases import BaseStore
from luthier.modeling.encoder_card import EncoderWeights
from luthier.services.deployments import DeploymentService
from luthier.services.models import ModelService
from luthier.storage.db import Database
from luthier.storage.deployments import DeploymentStore
from luthier.storage.models import TunedModelStore

TUNED = "ada:ft-personal-2023-03-14-18-36-10"
Open = Callable[..., DeploymentService]


class FakeEngine:
    """Either engine. Pins at once, or when `gate` opens.

    Attributes:
        pinned: what is in memory, once for each pin.
        broken: what cannot be loaded.
    """

    def __init__(self) -> None:
        self.pinned: list[Weights | EncoderWeights] = []
        self.broken: set[Path] = set()
        self.gate = threading.Event()
        self.gate.set()

    def pin(self, weights: Weights | EncoderWeights) -> "Future[None]":
        assert self.gate.wait(10)
        done: Future[None] = Future()
        if isinstance(weights, Weights) and weights.base in self.broken:
            done.set_exception(WeightsError("The weights are damaged."))
        else:
            self.pinned.append(weights)
            done.set_result(None)
        return done

    def unpin(self, weights: Weights | EncoderWeights) -> None:
        self.pinned.remove(weights)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def encoders() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    yield database
    database.close()


@pytest.fixture
def models(settings: Settings, database: Database, tiny_base: Path, tiny_encoder: Path) -> ModelService:
    """`ada`, a model tuned on it, and `similar`, which makes embeddings."""
    aliases = f"[aliases]\nada = '{tiny_base.as_posix()}'\nsimilar = '{tiny_encoder.as_posix()}'\n"
    settings.aliases_path.write_text(aliases, encoding="utf-8")
    bases, tuned = BaseStore(settings), TunedModelStore(database)
    tuned.add(TunedModel(TUNED, tiny_base.as_posix(), "ada", Method.LORA, "tuned-1", "ft-1", created_at=1))
    return ModelService(settings, bases, bases.registry, tuned, lambda _: None, DeploymentStore(database))


@pytest.fixture
def opened(
    settings: Settings, database: Database, models: ModelService, engine: FakeEngine, encoders: FakeEngine
) -> Open:
    def open_(**changes: float) -> DeploymentService:
        changed = settings.model_copy(update=changes)
        return DeploymentService(changed, DeploymentStore(database), models, engine, encoders)

    return open_


@pytest.fixture
def service(opened: Open) -> DeploymentService:
    return opened()


def until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(500):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("it did not come about")


def test_creating_waits_until_the_model_is_in_memory(
    service: DeploymentService, engine: FakeEngine, tiny_base: Path, settings: Settings
) -> None:
    base = service.create("ada", ScaleType.STANDARD)
    tuned = service.create(TUNED, ScaleType.MANUAL, 2, name="prod")
    assert base.id.startswith("deployment-")
    assert (tuned.id, tuned.model, tuned.capacity) == ("prod", TUNED, 2)
    assert {one.status for one in service.list()} == {DeploymentStatus.READY}
    assert engine.pinned == [Weights(tiny_base), Weights(tiny_base, settings.tuned_dir / "tuned-1")]


def test_a_model_that_makes_embeddings(
    service: DeploymentService, engine: FakeEngine, encoders: FakeEngine, models: ModelService, tiny_encoder: Path
) -> None:
    made = service.create("similar", ScaleType.STANDARD, name="vectors")
    assert made.status is DeploymentStatus.READY
    asked = models.resolve_encoder("vectors")
    assert (engine.pinned, encoders.pinned) == ([], [asked.weights])
    assert asked.weights.folder == asked.base.path == tiny_encoder
    service.delete("vectors")
    assert encoders.pinned == []
    with pytest.raises(NotFoundError):  # at once, however lately it was asked
        models.resolve_encoder("vectors")


def test_a_name_answers_with_its_newest_model_at_once(
    service: DeploymentService, models: ModelService, tiny_base: Path, settings: Settings
) -> None:
    for model, weights in (("ada", Weights(tiny_base)), (TUNED, Weights(tiny_base, settings.tuned_dir / "tuned-1"))):
        service.create(model, ScaleType.STANDARD, name="prod")
        assert models.resolve("prod").weights == weights
    service.delete("prod")
    with pytest.raises(NotFoundError):
        models.resolve("prod")


def test_creating_waits_no_longer_than_it_may(opened: Open, engine: FakeEngine) -> None:
    engine.gate.clear()
    service = opened(deploy_seconds=0)
    assert service.create("ada", ScaleType.STANDARD, name="prod").status is DeploymentStatus.LOADING
    engine.gate.set()
    until(lambda: service.get("prod").status is DeploymentStatus.READY)


def test_a_model_that_cannot_be_loaded_is_told(service: DeploymentService, engine: FakeEngine, tiny_base: Path) -> None:
    engine.broken.add(tiny_base)
    failed = service.create("ada", ScaleType.STANDARD)
    assert (failed.status, failed.error) == (DeploymentStatus.FAILED, "The weights are damaged.")
    service.delete(failed.id)
    assert service.list() == []


@pytest.mark.parametrize(
    ("model", "name", "error"),
    [
        ("nobody", None, NotFoundError),
        ("ada", "with space", InvalidRequestError),
        ("ada", "", InvalidRequestError),
        ("ada", "a/b", InvalidRequestError),
        ("ada", "a" * 65, InvalidRequestError),
        ("ada", "-a", InvalidRequestError),
    ],
)
def test_what_cannot_be_deployed(service: DeploymentService, model: str, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        service.create(model, ScaleType.STANDARD, name=name)
    assert service.list() == []


def test_deleting_frees_the_memory(service: DeploymentService, engine: FakeEngine) -> None:
    service.create("ada", ScaleType.STANDARD, name="prod")
    service.delete("prod")
    assert engine.pinned == []
    for missing in (service.get, service.delete):
        with pytest.raises(NotFoundError, match="no deployment named 'prod'"):
            missing("prod")


def test_deleting_while_it_loads(opened: Open, engine: FakeEngine) -> None:
    engine.gate.clear()
    service = opened(deploy_seconds=0)
    service.create("ada", ScaleType.STANDARD, name="prod")
    service.delete("prod")
    engine.gate.set()
    until(lambda: not any(thread.name == "deploy prod" for thread in threading.enumerate()))
    assert engine.pinned == []
    assert service.list() == []


def test_a_name_can_be_given_to_another_model(
    service: DeploymentService, engine: FakeEngine, models: ModelService, tiny_base: Path, settings: Settings
) -> None:
    first = service.create("ada", ScaleType.STANDARD, name="prod")
    second = service.create(TUNED, ScaleType.STANDARD, name="prod")
    assert (second.model, second.created_at) == (TUNED, first.created_at)
    assert engine.pinned == [Weights(tiny_base, settings.tuned_dir / "tuned-1")]
    assert models.resolve("prod").weights == engine.pinned[0]


def test_a_restart_loads_what_was_deployed(opened: Open, engine: FakeEngine) -> None:
    before = opened()
    before.create("ada", ScaleType.STANDARD, name="prod")
    before.close()
    engine.pinned.clear()
    after = opened()
    after.start()
    until(lambda: after.get("prod").status is DeploymentStatus.READY)
    assert len(engine.pinned) == 1


def test_a_stopping_server_does_not_call_it_a_failure(opened: Open, engine: FakeEngine, tiny_base: Path) -> None:
    engine.gate.clear()
    engine.broken.add(tiny_base)
    service = opened(deploy_seconds=0)
    service.create("ada", ScaleType.STANDARD, name="prod")
    service.close()
    engine.gate.set()
    until(lambda: not any(thread.name == "deploy prod" for thread in threading.enumerate()))
    assert service.get("prod").status is DeploymentStatus.LOADING


def test_names_that_requests_can_use(service: DeploymentService, models: ModelService) -> None:
    service.create(TUNED, ScaleType.STANDARD, name="prod")
    service.create(TUNED, ScaleType.STANDARD, name="ada")
    listed = {card.id: card for card in models.list()}
    assert listed["prod"].parent == listed["ada"].parent == models.get("prod").parent == TUNED
    assert models.resolve("ada").tuned is not None  # the owner's own names go first
    assert models.resolve("ada").id == "ada"
    assert models.model("ada").parent is None
    assert "prod" not in {card.id for card in models.models()}


def test_a_deployed_model_cannot_be_deleted(service: DeploymentService, models: ModelService) -> None:
    service.create(TUNED, ScaleType.STANDARD, name="prod")
    with pytest.raises(InvalidRequestError, match="deployed as prod"):
        models.delete(TUNED)
    with pytest.raises(InvalidRequestError, match="luthier undeploy prod"):
        models.delete("prod")
    service.delete("prod")
    models.delete(TUNED)


@pytest.mark.parametrize("named", ["", "prod", TUNED, "ada"])
def test_models_that_a_request_may_name_beside_a_deployment(service: DeploymentService, named: str) -> None:
    service.create(TUNED, ScaleType.STANDARD, name="prod")
    service.check_asked("prod", named)


def test_a_model_that_the_deployment_is_not(service: DeploymentService) -> None:
    service.create("ada", ScaleType.STANDARD, name="prod")
    for named in (TUNED, "nobody", "similar"):
        with pytest.raises(InvalidRequestError, match="answers with 'ada'"):
            service.check_asked("prod", named)


def test_a_models_name_needs_no_deployment(service: DeploymentService) -> None:
    service.check_asked("ada")
    with pytest.raises(NotFoundError, match="no deployment named 'nobody'"):
        service.check_asked("nobody")


def test_a_deployed_name_hides_a_model_from_requests_but_not_from_deployments(
    service: DeploymentService, models: ModelService, engine: FakeEngine, tiny_base: Path
) -> None:
    service.create(TUNED, ScaleType.STANDARD, name="ada")
    service.create("ada", ScaleType.STANDARD, name="plain")
    assert engine.pinned[-1] == Weights(tiny_base) == models.resolve("plain").weights
    assert models.resolve("ada").tuned is not None
