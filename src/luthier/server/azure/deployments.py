"""/openai/deployments: keeping models in memory under names of one's own."""

from fastapi import APIRouter
from starlette.responses import Response

from luthier.errors import NotFoundError
from luthier.server.azure.version import VersionOf, WithVersion
from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf
from luthier.server.wire.azure import AzureFile, AzureFineTuneWithEvents, AzureModel
from luthier.server.wire.base import Deleted, Listing
from luthier.server.wire.deployments import CreateDeploymentBody, DeploymentObject, PutDeploymentBody

router = APIRouter(
    prefix="/openai/deployments", tags=["Azure: deployments"], route_class=JsonRoute, dependencies=[WithVersion]
)


@router.post("", status_code=201, response_model_exclude_none=True)
def create_deployment(body: CreateDeploymentBody, response: Response, services: ServicesOf) -> DeploymentObject:
    """Load a model and keep it in memory. Answers when it is there, or after LUTHIER_DEPLOY_SECONDS as `running`."""
    scale_type, capacity = body.scale_settings.to_domain()
    made = services.deployments.create(body.model, scale_type, capacity)
    response.headers["Location"] = f"/openai/deployments/{made.id}"
    return DeploymentObject.of(made)


@router.put("/{deployment}", response_model_exclude_none=True)
def put_deployment(deployment: str, body: PutDeploymentBody, services: ServicesOf) -> DeploymentObject:
    """Deploy under a name of one's own; a deployment of that name answers with the new model from now on. Ours."""
    scale_type, capacity = body.scale_settings.to_domain()
    return DeploymentObject.of(services.deployments.create(body.model, scale_type, capacity, name=deployment))


@router.get("", response_model_exclude_none=True)
def list_deployments(services: ServicesOf) -> Listing[DeploymentObject]:
    """All deployments, oldest first."""
    return Listing(data=[DeploymentObject.of(one) for one in services.deployments.list()])


@router.get("/{name:path}/refresh", response_model_exclude_none=True)
def refresh(
    name: str, version: VersionOf, services: ServicesOf
) -> DeploymentObject | AzureFile | AzureFineTuneWithEvents | AzureModel:
    """The thing of that id. `openai==0.27.2` asks here in each of its `aretrieve`, whatever it retrieves."""
    try:
        return DeploymentObject.of(services.deployments.get(name))
    except NotFoundError:
        pass
    try:
        return AzureFile.of(services.files.get(name), openai_statuses=version.has_openai_statuses)
    except NotFoundError:
        pass
    try:
        job = services.fine_tunes.get(name)
    except NotFoundError:
        return AzureModel.of(services.models.model(name))
    events = services.fine_tunes.events(name).items
    return AzureFineTuneWithEvents.of(job, services.fine_tunes.files_of(job), events=events)


@router.get("/{deployment}", response_model_exclude_none=True)
def retrieve_deployment(deployment: str, services: ServicesOf) -> DeploymentObject:
    return DeploymentObject.of(services.deployments.get(deployment))


@router.delete("/{deployment}")
def delete_deployment(deployment: str, services: ServicesOf) -> Deleted:
    """Forget a deployment; its weights leave memory as soon as nobody uses them."""
    services.deployments.delete(deployment)
    return Deleted(id=deployment, object="deployment")
