"""The events of a fine-tune as they come, as a stream of server-sent events."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from starlette.datastructures import State

from luthier.errors import UnavailableError
from luthier.server.wire.fine_tunes import FineTuneEvent
from luthier.services.fine_tunes import FineTuneService

_POLL_SECONDS = 0.25  # between two looks for new events


async def follow(app: State, job_id: str) -> AsyncGenerator[dict[str, Any], None]:
    """Every event, past ones first, until the job is over.

    Args:
        app: the application's state, with the services and whether the server is stopping.

    Raises:
        UnavailableError: the server stops before.
    """
    fine_tunes: FineTuneService = app.services.fine_tunes
    after: str | None = None
    while True:
        job = await to_thread.run_sync(fine_tunes.get, job_id)  # before its events: none of a finished job is missed
        told = await to_thread.run_sync(partial(fine_tunes.events, job_id, after=after))
        for event in told.items:
            yield FineTuneEvent.of(event).model_dump()
            after = event.id
        if job.status.is_final:
            return
        if app.stopping:
            raise UnavailableError("The server stops. The fine-tune goes on when it is back; follow it again then.")
        await anyio.sleep(_POLL_SECONDS)
