"""Deployments on the wire, and what is asked of them."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field

from luthier.domain.deployment import Deployment, DeploymentStatus, ScaleType
from luthier.errors import InvalidRequestError
from luthier.server.wire.azure import AzureError
from luthier.server.wire.base import Answer, RequestBody
from luthier.server.wire.chat import ChatBody
from luthier.server.wire.completions import CompletionBody
from luthier.server.wire.embeddings import EmbeddingBody

_STATUS = {
    DeploymentStatus.LOADING: "running",
    DeploymentStatus.READY: "succeeded",
    DeploymentStatus.FAILED: "failed",
}
_OPTIONAL_MODEL = "May be left out. Must be the deployment's name, its model, or that model's base."


class ScaleSettings(RequestBody):
    title = "scale_settings"

    scale_type: Annotated[
        Literal["standard", "manual"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ]
    capacity: int | None = Field(
        default=None,
        ge=1,
        description="With `manual`, and wanted there. Kept and shown; one copy of the weights serves.",
    )

    def to_domain(self) -> tuple[ScaleType, int | None]:
        """
        Raises:
            InvalidRequestError: a manual scale without capacity, or a capacity with the other.
        """
        scale_type = ScaleType(self.scale_type)
        if (scale_type is ScaleType.MANUAL) != (self.capacity is not None):
            raise InvalidRequestError(
                "'capacity' goes with the scale_type 'manual', and 'manual' wants it.", param="scale_settings.capacity"
            )
        return scale_type, self.capacity


class CreateDeploymentBody(RequestBody):
    title = "The creation of a deployment"

    model: str = Field(description="A base's name or a tuned model.")
    scale_settings: ScaleSettings


class PutDeploymentBody(RequestBody):
    title = "A deployment under a name of one's own"

    model: str = Field(description="A base's name or a tuned model.")
    scale_settings: ScaleSettings = ScaleSettings(scale_type="standard")


class ScaleSettingsObject(Answer):
    scale_type: Literal["standard", "manual"]
    capacity: int | None = None


class DeploymentObject(Answer):
    object: Literal["deployment"] = "deployment"
    id: str
    model: str
    owner: Literal["organization-owner"] = "organization-owner"
    scale_settings: ScaleSettingsObject
    status: Literal["running", "succeeded", "failed"]
    created_at: int
    updated_at: int
    error: AzureError | None = None

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        error = AzureError(code="internalFailure", message=deployment.error) if deployment.error else None
        return cls.model_validate(
            {
                "id": deployment.id,
                "model": deployment.model,
                "scale_settings": {"scale_type": deployment.scale_type.value, "capacity": deployment.capacity},
                "status": _STATUS[deployment.status],
                "created_at": deployment.created_at,
                "updated_at": deployment.updated_at,
                "error": error,
            }
        )


class DeployedCompletionBody(CompletionBody):
    title = "A completion"

    model: str = Field(default="", description=_OPTIONAL_MODEL)


class DeployedEmbeddingBody(EmbeddingBody):
    title = "An embedding"

    model: str = Field(default="", description=_OPTIONAL_MODEL)


class DeployedChatBody(ChatBody):
    title = "A chat completion"

    model: str = Field(default="", description=_OPTIONAL_MODEL)
