"""Answering a request for embeddings, for every path that takes one."""

import logging
from typing import Any

from anyio import to_thread
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.connection import while_connected
from luthier.server.wire.embeddings import EmbeddingBody, embedding_list
from luthier.services.embeddings import EmbeddingService

logger = logging.getLogger("luthier.server")


async def answer_embedding(request: Request, body: EmbeddingBody, embeddings: EmbeddingService) -> Response:
    """The answer, as `EmbeddingList` describes it. The work ends when the client goes away."""
    if body.user is not None:
        logger.info("Embeddings for user %r (%s)", body.user, request.state.request_id)
    content = await while_connected(request, _write(body, embeddings))
    return Response(content, media_type="application/json")


async def embed(body: EmbeddingBody, embeddings: EmbeddingService) -> dict[str, Any]:
    """The answer as an object, for callers that are no client of their own. Raises as `EmbeddingService.create`."""
    result = await embeddings.create(body.to_domain())
    return await to_thread.run_sync(embedding_list, result, body.encoding_format)


async def _write(body: EmbeddingBody, embeddings: EmbeddingService) -> bytes:
    result = await embeddings.create(body.to_domain())
    return await to_thread.run_sync(lambda: to_json(embedding_list(result, body.encoding_format)))
