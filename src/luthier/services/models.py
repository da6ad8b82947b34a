"""Models: what a name means, what stands behind it, and deleting what was tuned."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from luthier.catalogue.entry import Kind
from luthier.catalogue.registry import Registry
from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.deployment import Deployment
from luthier.domain.embedding import Manners, manners_of
from luthier.domain.hyperparameters import Method
from luthier.domain.job import DEFAULT_ORGANIZATION
from luthier.domain.model import TunedModel
from luthier.embedding.projection import CustomModel, CustomModels
from luthier.errors import InvalidRequestError, NotFoundError, PermissionDeniedError, WeightsError, unavailable
from luthier.modeling.bases import BaseStore, LocalBase
from luthier.modeling.encoder_card import EncoderCard, EncoderWeights
from luthier.modeling.loader import context_length
from luthier.modeling.tokenizer import HFTokenizer
from luthier.services.model_cards import ModelCard, ModelCards, ModelDetails
from luthier.services.recall import Recall
from luthier.storage.deployments import DeploymentStore
from luthier.storage.models import TunedModelStore
from luthier.types import Floats, Tokenizer

_OTHER_KIND = {
    Kind.COMPLETION: "The model '{}' makes embeddings and completes no texts. Ask it at /v1/embeddings, or take one "
    "that does, such as 'ada'.",
    Kind.EMBEDDING: "The model '{}' completes texts and makes no embeddings. Take a model that does, such as "
    "'text-embedding-ada-002'.",
}


@dataclass(frozen=True)
class ServedModel:
    """A name that a completion can be asked of, with its weights on this machine.

    Args:
        id: the name as asked for.
        base: the weights below it.
        tuned: what a fine-tune made of them, None for the base itself.
        weights: the folders that the engine loads.
        tokenizer: the base's.
        context_length: most tokens of prompt and completion together.
    """

    id: str
    base: LocalBase
    tuned: TunedModel | None
    weights: Weights
    tokenizer: Tokenizer
    context_length: int


@dataclass(frozen=True)
class ServedEncoder:
    """An embedding model, with its weights on this machine.

    Args:
        base: where the weights come from.
        weights: what the engine loads.
        card: what their folder says.
        manners: how inputs are taken.
        matrix: (D, P) of a customized model: its embeddings are the base's times this.
    """

    base: LocalBase
    weights: EncoderWeights
    card: EncoderCard
    manners: Manners
    matrix: Floats | None = None

    @property
    def prompt(self) -> str:
        """What is put before each text."""
        return self.card.prompt(self.manners.side)

    @property
    def dimensions(self) -> int:
        """Numbers of an embedding."""
        return self.card.dimensions if self.matrix is None else self.matrix.shape[1]


class ModelService:
    """What `/v1/models` does, and the way from a name to weights.

    What stands behind a name is remembered for a second at most (`Recall`).

    Args:
        evict: tells the completion engine that a folder's weights are gone.
        deployments: names of the owner's own, which go before all others; None for none.
    """

    def __init__(
        self,
        settings: Settings,
        bases: BaseStore,
        registry: Registry,
        tuned: TunedModelStore,
        evict: Callable[[Path], None],
        deployments: DeploymentStore | None = None,
    ) -> None:
        self._settings = settings
        self._bases = bases
        self._registry = registry
        self._tuned = tuned
        self._evict = evict
        self._deployments = deployments
        self._custom = CustomModels(settings)
        self._cards = ModelCards(bases)
        self._served = Recall(self._resolve, tuned.renames)
        self._encoders = Recall(self._resolve_encoder, tuned.renames)

    def models(self) -> list[ModelCard]:
        """The aliases, other bases on this machine, tuned models, customized ones; the last two oldest first."""
        names = self._registry.names()
        served = {self._registry.resolve(name).entry.key for name in names}
        others = [base.key for base in self._bases.list() if base.key not in served and self._is_known(base.key)]
        bases = [self._cards.base(name) for name in [*names, *others]]
        return [*bases, *map(self._cards.tuned, self._tuned.list()), *map(self._cards.custom, self._custom.list())]

    def list(self) -> list[ModelCard]:
        """Every name that a request can have: what `models` lists, and deployments in place of what they hide."""
        deployed = self._deployments.list() if self._deployments else []
        cards = {card.id: card for card in self.models()}
        return list({**cards, **{one.id: self._deployed_card(one) for one in deployed}}.values())

    def get(self, name: str) -> ModelCard:
        """What a name means in a request: a deployment's model under the deployment's name, or else the model.

        Raises:
            NotFoundError: nobody knows the name.
        """
        deployment = self._deployment(name)
        return self._deployed_card(deployment) if deployment else self.model(name)

    def model(self, name: str) -> ModelCard:
        """The model of that name, whatever is deployed under it.

        Raises:
            NotFoundError: nobody knows the name.
        """
        if tuned := self._tuned.find(name):
            return self._cards.tuned(tuned)
        custom = self._find_custom(name)
        return self._cards.custom(custom) if custom else self._cards.base(name)

    def delete(self, name: str) -> None:
        """Delete a tuned model, its record, its files, and what is in memory of it; or a customized one.

        Raises:
            PermissionDeniedError: it is a base.
            InvalidRequestError: it is deployed, or a deployment's name, or a job or an adapter needs it.
            NotFoundError: nobody knows the name.
        """
        self._refuse_deployed(name)
        if name in self._custom:
            self._custom.delete(name)
            self._served.forget()
            self._encoders.forget()
            return
        if self._tuned.find(name) is None:
            self._registry.resolve(name)
            raise PermissionDeniedError(
                f"'{name}' is a base model. Only tuned models can be deleted here, and customized ones; to free the "
                "space of pulled weights, remove their folder.",
                param="model",
            )
        model = self._tuned.delete(name)
        folder = self._settings.tuned_dir / model.folder
        self._evict(folder)
        if folder.exists():
            shutil.rmtree(folder)

    def behind(self, name: str) -> str:
        """The model that answers to a name: of a deployment its model, or else the name itself."""
        deployment = self._deployment(name)
        return deployment.model if deployment else name

    def resolve(self, name: str) -> ServedModel:
        """The weights behind a name that a request has. As `resolve_model`, but for deployments, which go first."""
        return self._served(name)

    def _resolve(self, name: str) -> ServedModel:
        return replace(self.resolve_model(self.behind(name)), id=name)

    def resolve_model(self, name: str) -> ServedModel:
        """The weights of a model, on this machine. Pulls a base at its first use, which takes a while.

        Raises:
            NotFoundError: nobody knows the name.
            InvalidRequestError: the base comes under terms that the user has to accept first, or it makes embeddings.
            UnavailableError: the base cannot be pulled, or its files are damaged.
        """
        tuned, custom = self._tuned.find(name), self._find_custom(name)
        try:
            base = self._ensure(name, custom.base if custom else tuned.root if tuned else name, Kind.COMPLETION)
            tokenizer = _tokenizer(base.path)
        except WeightsError as error:
            raise unavailable(name, error) from error
        return ServedModel(name, base, tuned, self._weights(base, tuned), tokenizer, context_length(base.path))

    def resolve_encoder(self, name: str) -> ServedEncoder:
        """The weights behind a name that a request for embeddings has: deployments first."""
        return self._encoders(name)

    def _resolve_encoder(self, name: str) -> ServedEncoder:
        return self.resolve_encoder_model(self.behind(name))

    def resolve_encoder_model(self, name: str) -> ServedEncoder:
        """The weights of an embedding model, on this machine. Pulls and raises as `resolve_model`.

        Raises:
            InvalidRequestError: besides, a customized model whose base's weights are others now.
        """
        if self._tuned.find(name):
            raise InvalidRequestError(_OTHER_KIND[Kind.EMBEDDING].format(name), param="model")
        custom = self._find_custom(name)
        try:
            base = self._ensure(name, custom.base if custom else name, Kind.EMBEDDING)
            weights, card = EncoderWeights.of(base), EncoderCard.read(base.path)
            if custom is None:
                return ServedEncoder(base, weights, card, manners_of(name))
            custom.check(base, card.dimensions)
            return ServedEncoder(base, weights, card, manners_of(custom.base), self._custom.matrix(custom))
        except WeightsError as error:
            raise unavailable(name, error) from error

    def manners(self, name: str) -> Manners:
        """How inputs of an embedding model of this name are taken: a customized one has its base's manners."""
        model = self.behind(name)
        custom = self._find_custom(model)
        return manners_of(custom.base if custom else model)

    def _find_custom(self, name: str) -> CustomModel | None:
        try:
            return self._custom.find(name)
        except WeightsError as error:
            raise unavailable(name, error) from error

    def _ensure(self, name: str, root: str, kind: Kind) -> LocalBase:
        """The base of a name, pulled if need be, unless it is known to be of another kind."""
        if self._registry.resolve(root).entry.kind in (None, kind):
            base = self._bases.ensure(root)
            if base.kind is kind:
                return base
        raise InvalidRequestError(_OTHER_KIND[kind].format(name), param="model")

    def _weights(self, base: LocalBase, tuned: TunedModel | None) -> Weights:
        if tuned is None:
            return Weights(base.path)
        folder = self._settings.tuned_dir / tuned.folder
        if tuned.method is Method.FULL:
            return Weights(folder)
        below = base.path if tuned.base_folder is None else self._settings.tuned_dir / tuned.base_folder
        return Weights(below, folder)

    def _deployment(self, name: str) -> Deployment | None:
        return self._deployments.find(name) if self._deployments else None

    def _refuse_deployed(self, name: str) -> None:
        if self._deployment(name) is not None:
            raise InvalidRequestError(
                f"'{name}' is a deployment. `luthier undeploy {name}` removes it; its model stays.", param="model"
            )
        deployed = self._deployments.list(model=name) if self._deployments else []
        if deployed:
            raise InvalidRequestError(
                f"'{name}' is deployed as {', '.join(one.id for one in deployed)}. Delete the deployment first.",
                param="model",
            )

    def _is_known(self, key: str) -> bool:
        """False for weights whose entry has been taken out of the alias file since they were pulled."""
        try:
            self._registry.resolve(key)
        except NotFoundError:
            return False
        return True

    def _deployed_card(self, deployment: Deployment) -> ModelCard:
        """The card of the model behind a deployment, under the deployment's name."""
        name, model = deployment.id, deployment.model
        try:
            card = self.model(model)
        except NotFoundError as error:  # taken out of the alias file since
            details = ModelDetails(model, model, note=f"This deployment cannot answer now: {error.message}")
            card = ModelCard(
                model, deployment.created_at, DEFAULT_ORGANIZATION, root=model, parent=None, details=details
            )
        return replace(card, id=name, created=deployment.created_at, owned_by=DEFAULT_ORGANIZATION, parent=model)


@lru_cache(maxsize=8)
def _tokenizer(folder: Path) -> Tokenizer:
    return HFTokenizer(folder)
