"""A completion model as a function of a prompt: in this process, or of a server."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from luthier.types import Complete

if TYPE_CHECKING:
    from luthier.services.completions import CompletionService


@contextmanager
def completer(model: str, url: str | None = None, *, max_tokens: int = 64) -> Iterator[Complete]:
    """Gives prompt → text, greedily (temperature 0).

    Args:
        model: a name that the catalogue or the server knows; here also a tuned model.
        url: of a server that speaks the OpenAI API; None for this process.
        max_tokens: of each answer.

    Raises:
        LuthierError: there is no such model, or it cannot be had.
    """
    if url is not None:
        from luthier.cli.client import Client, base_url

        with Client(base_url(url), os.environ.get("OPENAI_API_KEY", "")) as client:
            fields = {"model": model, "max_tokens": max_tokens, "temperature": 0}
            yield lambda prompt: str(
                client.post("completions", body={**fields, "prompt": prompt})["choices"][0]["text"]
            )
        return
    from luthier.domain.generation import SamplingParams
    from luthier.services.completion_checks import CompletionRequest

    params = SamplingParams(max_tokens=max_tokens, temperature=0.0)
    with _completions() as service, asyncio.Runner() as loop:

        def complete(prompt: str) -> str:
            request = CompletionRequest(model, (prompt,), params)
            return loop.run(service.create(request)).choices[0].text

        yield complete


@contextmanager
def _completions() -> "Iterator[CompletionService]":
    """The service behind /v1/completions with an engine of its own, stopped at the end."""
    from luthier.completion.engine import CompletionEngine
    from luthier.config import load_settings
    from luthier.modeling.bases import BaseStore
    from luthier.services.completions import CompletionService
    from luthier.services.models import ModelService
    from luthier.storage.db import Database
    from luthier.storage.deployments import DeploymentStore
    from luthier.storage.models import TunedModelStore

    settings = load_settings()
    with ExitStack() as opened:
        database = Database.open(settings)
        opened.callback(database.close)
        engine = CompletionEngine(settings)
        engine.start()
        opened.callback(engine.stop)
        bases, tuned = BaseStore(settings), TunedModelStore(database)
        models = ModelService(settings, bases, bases.registry, tuned, engine.evict, DeploymentStore(database))
        yield CompletionService(models, engine)
