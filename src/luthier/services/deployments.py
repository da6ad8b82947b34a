"""Deployments: models kept in memory under names of one's own."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Protocol, TypeVar

from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.deployment import (
    DEPLOYMENT_PREFIX,
    Deployment,
    DeploymentStatus,
    ScaleType,
    check_name,
)
from luthier.domain.names import new_id
from luthier.errors import InvalidRequestError, LuthierError, NotFoundError
from luthier.modeling.encoder_card import EncoderWeights
from luthier.services.models import ModelService
from luthier.storage.deployments import DeploymentStore

_log = logging.getLogger(__name__)


Pinned = TypeVar("Pinned", contravariant=True)


class Pinner(Protocol[Pinned]):
    """What keeps weights in memory; see `CompletionEngine.pin` and `EmbeddingEngine.pin`."""

    def pin(self, weights: Pinned, /) -> "Future[None]": ...

    def unpin(self, weights: Pinned, /) -> None: ...


class _Load:
    """One attempt to have a deployment's model in memory.

    Attributes:
        over: set when it has succeeded or failed.
        unpin: undoes it; None before, and after a failure.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self.unpin: Callable[[], None] | None = None


class DeploymentService:
    """What `/openai/deployments` does. A deployment's weights stay in memory as long as it exists.

    Args:
        models: finds, and where necessary pulls, the weights.
        engine, encoders: keep weights in memory that complete texts, and those that make embeddings.
    """

    def __init__(
        self,
        settings: Settings,
        deployments: DeploymentStore,
        models: ModelService,
        engine: Pinner[Weights],
        encoders: Pinner[EncoderWeights],
    ) -> None:
        self._settings = settings
        self._deployments = deployments
        self._models = models
        self._engine = engine
        self._encoders = encoders
        self._lock = threading.Lock()  # guards the fields below, and changes of what is stored
        self._loads: dict[str, _Load] = {}  # the newest of each deployment
        self._closing = False

    def start(self) -> None:
        """Load what was deployed when the last server stopped. Returns at once."""
        with self._lock:
            for deployment in self._deployments.list():
                self._deployments.update(deployment.id, status=DeploymentStatus.LOADING, error=None)
                self._begin(deployment.id, deployment.model)

    def close(self) -> None:
        """Leave the records as they are; what is in memory goes with the engine."""
        with self._lock:
            self._closing = True

    def create(
        self, model: str, scale_type: ScaleType, capacity: int | None = None, *, name: str | None = None
    ) -> Deployment:
        """Load a model and keep it in memory, and wait for that as long as the settings allow.

        Args:
            name: of one's own; a deployment of that name answers with the new model from now on. None makes one up.

        Returns:
            The deployment as it stands after the wait: ready, failed, or still loading.

        Raises:
            NotFoundError: nobody knows the model.
            InvalidRequestError: the name cannot be one.
        """
        self._models.model(model)
        if name is not None:
            check_name(name)
        now = int(time.time())
        deployment = Deployment(
            id=name or new_id(DEPLOYMENT_PREFIX),
            model=model,
            scale_type=scale_type,
            capacity=capacity,
            status=DeploymentStatus.LOADING,
            created_at=now,
            updated_at=now,
        )
        with self._lock:
            self._deployments.put(deployment)
            before = self._loads.get(deployment.id)
            load = self._begin(deployment.id, model)
        load.over.wait(self._settings.deploy_seconds)
        if before is not None:
            self._unpin(before)
        return self._deployments.get(deployment.id)

    def list(self) -> list[Deployment]:
        """All, oldest first."""
        return self._deployments.list()

    def get(self, name: str) -> Deployment:
        """
        Raises:
            NotFoundError: there is no deployment of that name.
        """
        deployment = self._deployments.find(name)
        if deployment is None:
            raise _unknown(name)
        return deployment

    def check_asked(self, name: str, named: str = "") -> None:
        """Whether a deployment can be asked. A model's own name works undeployed.

        Args:
            named: the model that the request names beside the deployment; "" for none.

        Raises:
            NotFoundError: there is no deployment and no model of that name.
            InvalidRequestError: the request names a model that the deployment is not.
        """
        try:
            model = self._models.behind(name)
            self._models.model(model)
        except NotFoundError:
            if self._deployments.find(name) is None:
                raise _unknown(name) from None
            raise
        if named not in ("", name, model) and not self._is_base_of(named, model):
            raise InvalidRequestError(
                f"The request names the model '{named}', and the deployment '{name}' answers with '{model}'. "
                "Leave 'model' out, or give it one of these two names.",
                param="model",
            )

    def _is_base_of(self, name: str, model: str) -> bool:
        """Whether it names a base, and of these weights."""
        try:
            base = self._models.model(name)
            return base.parent is None and base.details.weights == self._models.model(model).details.weights
        except NotFoundError:
            return False

    def delete(self, name: str) -> None:
        """Forget a deployment; its weights leave memory as soon as nobody uses them.

        Raises:
            NotFoundError: there is no deployment of that name.
        """
        with self._lock:
            if self._deployments.find(name) is None:
                raise _unknown(name)
            self._deployments.delete(name)
            load = self._loads.pop(name, None)
        if load is not None:
            self._unpin(load)

    def _begin(self, name: str, model: str) -> _Load:
        load = self._loads[name] = _Load()
        # Not a pool's thread: a pull may take minutes, and a server that stops does not wait for it.
        threading.Thread(target=self._load, args=(name, model, load), name=f"deploy {name}", daemon=True).start()
        return load

    def _load(self, name: str, model: str, load: _Load) -> None:
        error: str | None = None
        unpin: Callable[[], None] | None = None
        try:
            unpin = self._pin(model)
        except LuthierError as problem:
            error = problem.message
        except Exception:  # the boundary of this thread: whoever waits is told
            _log.exception("The deployment %s could not be loaded", name)
            error = "The server could not load the model. Its log says why."
        with self._lock:
            wanted = self._loads.get(name) is load
            if wanted:
                load.unpin = unpin
                if not self._closing:
                    status = DeploymentStatus.READY if error is None else DeploymentStatus.FAILED
                    self._deployments.update(name, status=status, error=error)
        load.over.set()
        if unpin is not None and not wanted:  # deleted or replaced meanwhile
            unpin()

    def _pin(self, model: str) -> Callable[[], None]:
        """Have a model in memory; what it returns undoes that.

        Raises:
            LuthierError: it cannot be loaded.
        """
        try:
            weights = self._models.resolve_model(model).weights
        except InvalidRequestError:
            if not self._models.model(model).details.capabilities.embeddings:
                raise
            encoder = self._models.resolve_encoder_model(model).weights
            self._encoders.pin(encoder).result()
            return partial(self._encoders.unpin, encoder)
        self._engine.pin(weights).result()
        return partial(self._engine.unpin, weights)

    def _unpin(self, load: _Load) -> None:
        """Give up what an attempt that is not the newest any more has pinned."""
        with self._lock:
            unpin, load.unpin = load.unpin, None
        if unpin is not None:
            unpin()


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no deployment named '{name}'. `luthier deployments` lists those that are there; "
        f"`luthier deploy {name} MODEL` makes it.",
        param="deployment",
        code="DeploymentNotFound",
    )
