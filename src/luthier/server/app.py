"""The application: every router, and the services behind them, opened and closed with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from enum import Enum
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

import luthier
from luthier.config import Settings
from luthier.server import azure, errors
from luthier.server.auth import AuthMiddleware, authorize
from luthier.server.azure.version import MayHaveVersion, WithVersion
from luthier.server.dependencies import refuse_unknown_query, refuse_unread_body
from luthier.server.middleware import RequestContextMiddleware
from luthier.server.openai import (
    batches,
    chat,
    completions,
    embeddings,
    engines,
    files,
    fine_tunes,
    fine_tuning_jobs,
    health,
    models,
    tokens,
    vector_stores,
)
from luthier.server.wire.base import ErrorAnswer
from luthier.server.wiring import Services, open_services

_THREADS = 64
"""Requests that use the disk or the database at once. They are short; a stream has a thread only while it looks."""

_EXPOSED_HEADERS = (
    "x-request-id",
    "openai-processing-ms",
    "retry-after",
    "retry-after-ms",
    *(f"x-ratelimit-{figure}-{what}" for figure in ("limit", "remaining", "reset") for what in ("requests", "tokens")),
)
"""What the scripts of a web page may read, beside the body."""


_LIKE_OPENAI: dict[str, Any] = {"dependencies": [MayHaveVersion], "include_in_schema": False}
"""Of /openai/v1, where Azure's newest API has OpenAI's own paths."""


def create_app(
    settings: Settings,
    *,
    services: Callable[[Settings], AbstractContextManager[Services]] = open_services,
) -> FastAPI:
    """
    Who runs the app sets `app.state.stopping` when it is about to stop, so that endless streams end.

    Args:
        services: opens what the requests are given to, when the server starts, and closes it when it stops.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        # Of `asyncio.to_thread`, whose own few would all be taken by requests that wait for one base to be pulled.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "requests"))
        opened = services(settings)
        app.state.services = await to_thread.run_sync(opened.__enter__)
        try:
            yield
        finally:
            own = CapacityLimiter(1)  # stopping waits for no thread of a request
            await to_thread.run_sync(opened.__exit__, None, None, None, limiter=own)

    app = FastAPI(
        title="Luthier",
        version=luthier.__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # its pages would load scripts from elsewhere
        redoc_url=None,
        dependencies=[Depends(authorize), Depends(refuse_unknown_query), Depends(refuse_unread_body)],
        generate_unique_id_function=_operation_id,
        responses={"4XX": {"model": ErrorAnswer}, "5XX": {"model": ErrorAnswer}},
    )
    app.state.settings = settings
    app.state.stopping = False
    errors.install(app)
    app.add_middleware(AuthMiddleware, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("*",),
            expose_headers=_EXPOSED_HEADERS,
        )
    app.add_middleware(RequestContextMiddleware)  # the last one added is the outermost
    for part in (files, fine_tunes, models, completions, chat, embeddings):
        app.include_router(part.router)
        app.include_router(part.router, prefix="/openai", **_LIKE_OPENAI)
    for part in (fine_tuning_jobs, batches, engines, vector_stores):  # which Azure has with OpenAI's own words
        app.include_router(part.router, prefix="/v1")
        app.include_router(part.router, prefix="/openai/v1", **_LIKE_OPENAI)
        tags: list[str | Enum] = [f"Azure: {str(part.router.tags[0]).lower()}"]
        app.include_router(part.router, prefix="/openai", dependencies=[WithVersion], tags=tags)
    app.include_router(tokens.router, prefix="/v1")
    for router in azure.ROUTERS:
        app.include_router(router)
    app.include_router(health.router)
    return app


def _operation_id(route: APIRoute) -> str:
    return f"azure_{route.name}" if route.path.startswith("/openai/") else route.name
