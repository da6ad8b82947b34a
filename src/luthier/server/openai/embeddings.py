"""/v1/embeddings"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf
from luthier.server.embedding import answer_embedding
from luthier.server.wire.embeddings import EmbeddingBody, EmbeddingList

router = APIRouter(prefix="/v1", tags=["Embeddings"], route_class=JsonRoute)


@router.post("/embeddings", response_model=EmbeddingList)
async def create_embedding(request: Request, body: EmbeddingBody, services: ServicesOf) -> Response:
    """Turn one or several texts into vectors of length 1."""
    return await answer_embedding(request, body, services.embeddings)
