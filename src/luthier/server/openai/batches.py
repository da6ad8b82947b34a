"""/v1/batches"""

from typing import Annotated

from fastapi import APIRouter, Query

from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf
from luthier.server.wire.base import CursorPage
from luthier.server.wire.batches import BatchObject, CreateBatchBody

router = APIRouter(prefix="/batches", tags=["Batches"], route_class=JsonRoute)


@router.post("")
def create_batch(body: CreateBatchBody, services: ServicesOf) -> BatchObject:
    """Have the requests of a file answered in the background."""
    return BatchObject.of(services.batches.create(body.to_domain()))


@router.get("")
def list_batches(
    services: ServicesOf,
    after: Annotated[str | None, Query(description="Id of the last batch already seen.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Items of one page.")] = 20,
) -> CursorPage[BatchObject]:
    """The batches, newest first."""
    page = services.batches.list(after=after, limit=limit)
    data = [BatchObject.of(batch) for batch in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return CursorPage(data=data, has_more=page.has_more, first_id=first, last_id=last)


@router.get("/{batch_id}")
def retrieve_batch(batch_id: str, services: ServicesOf) -> BatchObject:
    return BatchObject.of(services.batches.get(batch_id))


@router.post("/{batch_id}/cancel")
def cancel_batch(batch_id: str, services: ServicesOf) -> BatchObject:
    """Stop a batch within seconds. What it has answered stays, in its output file."""
    return BatchObject.of(services.batches.cancel(batch_id))


@router.post("/{batch_id}/resume")
def resume_batch(batch_id: str, services: ServicesOf) -> BatchObject:
    """Let a batch that was cancelled or has expired go on with the requests that have no answer. Ours."""
    return BatchObject.of(services.batches.resume(batch_id))
