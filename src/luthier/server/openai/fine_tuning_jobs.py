"""/v1/fine_tuning/jobs: today's fine-tuning API."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from luthier.domain.job import Dialect, Job
from luthier.errors import InvalidRequestError
from luthier.server.body import JsonRoute
from luthier.server.dependencies import OwnerOf, ServicesOf
from luthier.server.wire.base import CursorPage, Listing
from luthier.server.wire.jobs import CheckpointObject, CreateJobBody, JobEvent, JobObject
from luthier.server.wiring import Services
from luthier.services.fine_tunes import CreateFineTune

router = APIRouter(prefix="/fine_tuning/jobs", tags=["Fine-tuning jobs"], route_class=JsonRoute)

After = Annotated[str | None, Query(description="Id of the last item already seen.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items of one page.")]
_METADATA_PAIR = re.compile(r"metadata\[(.+)\]", re.DOTALL)
_METADATA_FILTER: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}


@router.post("")
def create_fine_tuning_job(body: CreateJobBody, services: ServicesOf, owner: OwnerOf) -> JobObject:
    """Put a fine-tune into the queue."""
    job = services.fine_tunes.create(
        CreateFineTune(
            dialect=Dialect.JOBS,
            training_file=body.training_file,
            validation_file=body.validation_file,
            model=body.model,
            suffix=body.suffix,
            organization=owner.organization,
            project=owner.project,
            wandb=body.wandb_run(),
            hyperparameters=body.to_hyperparameters(),
            metadata=body.metadata,
        )
    )
    return _shown(services, job)


@router.get("", openapi_extra=_METADATA_FILTER)
def list_fine_tuning_jobs(
    request: Request, services: ServicesOf, after: After = None, limit: Limit = 20
) -> Listing[JobObject]:
    """The jobs of both dialects, newest first; `metadata[key]=value` keeps those that bear it."""
    metadata: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if not name.startswith("metadata"):
            continue
        match = _METADATA_PAIR.fullmatch(name)
        if match is None or match[1] in metadata:
            raise InvalidRequestError(
                f"The query holds {name}={value}. Ask for metadata as metadata[key]=value, each key once.", param=name
            )
        metadata[match[1]] = value
    page = services.fine_tunes.list(after=after, limit=limit, newest_first=True, metadata=metadata)
    return Listing(data=[_shown(services, job) for job in page.items], has_more=page.has_more)


@router.get("/{job_id}")
def retrieve_fine_tuning_job(job_id: str, services: ServicesOf) -> JobObject:
    return _shown(services, services.fine_tunes.get(job_id))


@router.post("/{job_id}/cancel")
def cancel_fine_tuning_job(job_id: str, services: ServicesOf) -> JobObject:
    """Stop a job for good: at once while it waits or is paused, within seconds while it runs."""
    return _shown(services, services.fine_tunes.cancel(job_id))


@router.post("/{job_id}/pause")
def pause_fine_tuning_job(job_id: str, services: ServicesOf) -> JobObject:
    """Stop a job so that it can go on: at once while it waits, at a checkpoint within seconds while it runs."""
    return _shown(services, services.fine_tunes.pause(job_id))


@router.post("/{job_id}/resume")
def resume_fine_tuning_job(job_id: str, services: ServicesOf) -> JobObject:
    """Put a paused job back into the queue. It goes on where it was."""
    return _shown(services, services.fine_tunes.resume(job_id))


@router.get("/{job_id}/events")
def list_fine_tuning_events(
    job_id: str, services: ServicesOf, after: After = None, limit: Limit = 20
) -> Listing[JobEvent]:
    """The job's events, newest first."""
    page = services.fine_tunes.events(job_id, after=after, limit=limit, newest_first=True)
    return Listing(data=[JobEvent.of(event) for event in page.items], has_more=page.has_more)


@router.get("/{job_id}/checkpoints")
def list_fine_tuning_checkpoints(
    job_id: str, services: ServicesOf, after: After = None, limit: Limit = 10
) -> CursorPage[CheckpointObject]:
    """The models that the job's epochs left, newest first."""
    checkpoints = [CheckpointObject.of(checkpoint) for checkpoint in services.fine_tunes.checkpoints(job_id)]
    ids = [checkpoint.id for checkpoint in checkpoints]
    if after is not None and after not in ids:
        raise InvalidRequestError(f"There is no checkpoint {after}.", param="after")
    start = 0 if after is None else ids.index(after) + 1
    data = checkpoints[start : start + limit]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CursorPage(data=data, has_more=start + limit < len(ids), first_id=first, last_id=last)


def _shown(services: Services, job: Job) -> JobObject:
    return JobObject.of(job, services.fine_tunes.estimated_finish(job))
