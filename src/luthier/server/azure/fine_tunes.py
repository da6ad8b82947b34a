"""/openai/fine-tunes, and the one path outside /openai that the old client asks for a fine-tune's events."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from luthier.domain.job import Job
from luthier.server.azure.version import WithVersion
from luthier.server.body import JsonRoute
from luthier.server.dependencies import OwnerOf, ServicesOf, SettingsOf
from luthier.server.following import follow
from luthier.server.sse import MAY_STREAM, EventStream
from luthier.server.wire.azure import AzureFineTune, AzureFineTuneWithEvents
from luthier.server.wire.base import Deleted, Listing
from luthier.server.wire.fine_tunes import CreateFineTuneBody, FineTuneEvent
from luthier.server.wiring import Services

router = APIRouter(
    prefix="/openai/fine-tunes", tags=["Azure: fine-tunes"], route_class=JsonRoute, dependencies=[WithVersion]
)
root = APIRouter(prefix="/fine-tunes", tags=["Azure: fine-tunes"])


@router.post("", status_code=201)
def create_fine_tune(
    body: CreateFineTuneBody, response: Response, services: ServicesOf, owner: OwnerOf
) -> AzureFineTuneWithEvents:
    """Put a fine-tune into the queue."""
    job = services.fine_tunes.create(body.to_request(owner.organization, owner.project))
    response.headers["Location"] = f"/openai/fine-tunes/{job.id}"
    return _with_events(services, job)


@router.get("")
def list_fine_tunes(services: ServicesOf) -> Listing[AzureFineTune]:
    """All fine-tunes, oldest first."""
    jobs = services.fine_tunes.list().items
    return Listing(data=[AzureFineTune.of(job, services.fine_tunes.files_of(job)) for job in jobs])


@router.get("/{fine_tune_id}")
def retrieve_fine_tune(fine_tune_id: str, services: ServicesOf) -> AzureFineTuneWithEvents:
    """One fine-tune, with its events."""
    return _with_events(services, services.fine_tunes.get(fine_tune_id))


@router.delete("/{fine_tune_id}")
def delete_fine_tune(fine_tune_id: str, services: ServicesOf) -> Deleted:
    """Forget a finished fine-tune. The model it made stays."""
    services.fine_tunes.delete(fine_tune_id)
    return Deleted(id=fine_tune_id, object="fine-tune")


@router.post("/{fine_tune_id}/cancel")
def cancel_fine_tune(fine_tune_id: str, services: ServicesOf) -> AzureFineTuneWithEvents:
    """Stop a fine-tune: at once while it waits, within seconds while it runs."""
    return _with_events(services, services.fine_tunes.cancel(fine_tune_id))


@router.get("/{fine_tune_id}/events", response_model=Listing[FineTuneEvent], responses=MAY_STREAM)
def list_fine_tune_events(
    request: Request,
    fine_tune_id: str,
    services: ServicesOf,
    settings: SettingsOf,
    stream: Annotated[bool, Query(description="Follow the events until the fine-tune is finished.")] = False,
) -> Response | Listing[FineTuneEvent]:
    """All events, oldest first; with `stream=true` as server-sent events that go on until `data: [DONE]`."""
    page = services.fine_tunes.events(fine_tune_id)
    if stream:
        return EventStream(follow(request.app.state, fine_tune_id), settings.heartbeat_seconds)
    return Listing(data=[FineTuneEvent.of(event) for event in page.items])


@root.get("/{fine_tune_id}/events")
def list_events_of_old_client(fine_tune_id: str, services: ServicesOf) -> Listing[FineTuneEvent]:
    """All events, oldest first. `openai==0.27.2` asks here for them, without /openai and a version."""
    return Listing(data=[FineTuneEvent.of(event) for event in services.fine_tunes.events(fine_tune_id).items])


def _with_events(services: Services, job: Job) -> AzureFineTuneWithEvents:
    events = services.fine_tunes.events(job.id).items
    return AzureFineTuneWithEvents.of(job, services.fine_tunes.files_of(job), events=events)
