"""The endpoints whose requests a batch can hold: each takes a body as JSON and gives the answer's body."""

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from luthier.server.embedding import embed
from luthier.server.errors import from_validation
from luthier.server.wire.base import RequestBody
from luthier.server.wire.chat import ChatBody
from luthier.server.wire.chat_answers import ChatCompletionObject
from luthier.server.wire.completions import CompletionBody, CompletionObject
from luthier.server.wire.embeddings import EmbeddingBody
from luthier.services.batch_answers import Endpoint
from luthier.services.chat import ChatService
from luthier.services.completions import CompletionService
from luthier.services.embeddings import EmbeddingService

logger = logging.getLogger("luthier.server")

B = TypeVar("B", bound=RequestBody)


def batch_endpoints(
    completions: CompletionService, chat: ChatService, embeddings: EmbeddingService
) -> Mapping[str, Endpoint]:
    """By the paths that a batch's file names."""

    async def complete(value: dict[str, Any]) -> dict[str, Any]:
        body = _parsed(CompletionBody, value)
        if body.user is not None:
            logger.info("A completion for user %r (of a batch)", body.user)
        return CompletionObject.of(await completions.create(body.to_domain())).model_dump(mode="json")

    async def embed_inputs(value: dict[str, Any]) -> dict[str, Any]:
        body = _parsed(EmbeddingBody, value)
        if body.user is not None:
            logger.info("Embeddings for user %r (of a batch)", body.user)
        return await embed(body, embeddings)

    async def converse(value: dict[str, Any]) -> dict[str, Any]:
        body = _parsed(ChatBody, value)
        if body.user is not None:
            logger.info("A chat for user %r (of a batch)", body.user)
        result = await chat.create(body.to_domain())
        return ChatCompletionObject.of(result).model_dump(mode="json", exclude_unset=True)

    return {"/v1/completions": complete, "/v1/chat/completions": converse, "/v1/embeddings": embed_inputs}


def _parsed(kind: type[B], value: dict[str, Any]) -> B:
    """
    Raises:
        InvalidRequestError: the body is not of this kind; as the endpoint itself would refuse it.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise from_validation(error.errors()) from None
