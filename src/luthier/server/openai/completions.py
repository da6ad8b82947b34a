"""/v1/completions"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.body import JsonRoute
from luthier.server.completing import answer_completion
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.sse import MAY_STREAM
from luthier.server.wire.completions import CompletionBody, CompletionObject

router = APIRouter(prefix="/v1", tags=["Completions"], route_class=JsonRoute)


@router.post("/completions", response_model=CompletionObject, responses=MAY_STREAM)
async def create_completion(
    request: Request, body: CompletionBody, services: ServicesOf, settings: SettingsOf
) -> Response:
    """Continue one or several prompts; with `stream` as server-sent events."""
    return await answer_completion(request, body, services.completions, settings)
