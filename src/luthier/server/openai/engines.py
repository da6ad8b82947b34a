"""/v1/engines: models under their old name, as `openai` 0.27 lists and asks them."""

from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from luthier.errors import InvalidRequestError
from luthier.server.body import JsonRoute
from luthier.server.chatting import answer_chat
from luthier.server.completing import answer_completion
from luthier.server.connection import while_connected
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.embedding import answer_embedding
from luthier.server.sse import MAY_STREAM, EventStream
from luthier.server.wire.base import Listing
from luthier.server.wire.chat_answers import ChatCompletionObject
from luthier.server.wire.completions import CompletionObject
from luthier.server.wire.embeddings import EmbeddingList
from luthier.server.wire.engines import (
    EngineChatBody,
    EngineCompletionBody,
    EngineEmbeddingBody,
    EngineObject,
    GenerateBody,
    GeneratedText,
    GenerationObject,
    ModifyEngineBody,
)
from luthier.services.completions import CompletionChunk, CompletionService, CompletionStream

router = APIRouter(prefix="/engines", tags=["Engines"], route_class=JsonRoute)

_OLD_NAMES = {"max_tokens": "length", "n": "completions", "prompt": "context"}


@router.get("")
def list_engines(services: ServicesOf) -> Listing[EngineObject]:
    """Every model that a request can name."""
    return Listing(data=[EngineObject.of(card) for card in services.models.list()])


@router.post(  # before completions, whose path would take it for one of `ENGINE/chat`
    "/{engine:path}/chat/completions",
    response_model=ChatCompletionObject,
    response_model_exclude_unset=True,
    responses=MAY_STREAM,
)
async def create_engine_chat_completion(
    request: Request, engine: str, body: EngineChatBody, services: ServicesOf, settings: SettingsOf
) -> Response | ChatCompletionObject:
    """Answer a conversation; with `stream` as server-sent events."""
    return await answer_chat(request, body.of_engine(engine), services.chat, settings)


@router.post("/{engine:path}/completions", response_model=CompletionObject, responses=MAY_STREAM)
async def create_engine_completion(
    request: Request, engine: str, body: EngineCompletionBody, services: ServicesOf, settings: SettingsOf
) -> Response:
    """Continue one or several prompts; with `stream` as server-sent events."""
    return await answer_completion(request, body.of_engine(engine), services.completions, settings)


@router.post("/{engine:path}/embeddings", response_model=EmbeddingList)
async def create_engine_embedding(
    request: Request, engine: str, body: EngineEmbeddingBody, services: ServicesOf
) -> Response:
    """Turn one or several texts into vectors of length 1."""
    return await answer_embedding(request, body.of_engine(engine), services.embeddings)


@router.post("/{engine:path}/generate", response_model=GenerationObject, responses=MAY_STREAM)
async def generate(
    request: Request, engine: str, body: GenerateBody, services: ServicesOf, settings: SettingsOf
) -> Response | GenerationObject:
    """Go on from a context, the way of before `completions`; with `stream` as server-sent events."""
    stream = await while_connected(request, _begin(services.completions, body, engine))
    if body.stream:
        return EventStream(_chunks(stream, body.context), settings.heartbeat_seconds, stream.aclose)
    return await while_connected(request, _gather(stream, body))


@router.get("/{engine:path}")
def retrieve_engine(engine: str, services: ServicesOf) -> EngineObject:
    """One engine."""
    return EngineObject.of(services.models.get(engine))


@router.post("/{engine:path}")
def modify_engine(engine: str, body: ModifyEngineBody, services: ServicesOf) -> EngineObject:
    """Answers with the engine, of which there is one replica and cannot be more."""
    card = services.models.get(engine)
    body.check()
    return EngineObject.of(card)


async def _begin(completions: CompletionService, body: GenerateBody, engine: str) -> CompletionStream:
    try:
        return await completions.stream(body.to_domain(engine))
    except InvalidRequestError as error:  # the service speaks of the fields of completions
        old = _OLD_NAMES.get(error.param or "")
        if old is None:
            raise
        message = error.message.replace(f"'{error.param}'", f"'{old}'")
        raise InvalidRequestError(message, param=old, code=error.code) from None


async def _gather(stream: CompletionStream, body: GenerateBody) -> GenerationObject:
    """The stream's end result."""
    pieces: dict[int, list[CompletionChunk]] = defaultdict(list)
    try:
        async for chunk in stream:
            pieces[chunk.index].append(chunk)
    finally:
        await stream.aclose()
    data = [GeneratedText.of(pieces[index], body.context) for index in range(body.completions)]
    return GenerationObject(id=stream.id, created=stream.created, model=stream.model, data=data)


async def _chunks(stream: CompletionStream, context: str) -> AsyncGenerator[dict[str, Any], None]:
    """Each chunk as an answer of its own; the context comes with the first of each text."""
    head = {"id": stream.id, "object": "text_completion", "created": stream.created, "model": stream.model}
    begun: set[int] = set()
    async for chunk in stream:
        text = GeneratedText.of([chunk], None if chunk.index in begun else context)
        begun.add(chunk.index)
        yield {**head, "data": [text.model_dump()]}
