"""Following a fine-tune: each event once, to the end of the job or of the server."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import State

from luthier.domain.job import Event, Status
from luthier.domain.page import Page
from luthier.errors import UnavailableError
from luthier.server.following import follow


class Scripted:
    """A job whose story goes on by one event at each look, until it has succeeded."""

    def __init__(self, n: int) -> None:
        self.story = [Event(1, "info", f"event {i}", id=f"ftevent-{i}") for i in range(n)]
        self.told = 0

    def get(self, _: str) -> Any:
        over = self.told >= len(self.story)
        self.told += 1
        return SimpleNamespace(status=Status.SUCCEEDED if over else Status.RUNNING)

    def events(self, _: str, *, after: str | None) -> Page[Event]:
        known = [event.id for event in self.story]
        return Page(tuple(self.story[known.index(after) + 1 if after else 0 : self.told]))


def _state(job: Scripted, *, stopping: bool) -> State:
    return State({"services": SimpleNamespace(fine_tunes=job), "stopping": stopping})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.server.following._POLL_SECONDS", 0)


def test_each_event_comes_once_and_the_end_with_the_job() -> None:
    async def read() -> list[str]:
        return [item["message"] async for item in follow(_state(Scripted(3), stopping=False), "ft-1")]

    assert asyncio.run(read()) == ["event 0", "event 1", "event 2"]


def test_a_stopping_server_says_so() -> None:
    async def read() -> list[str]:
        return [item["message"] async for item in follow(_state(Scripted(3), stopping=True), "ft-1")]

    with pytest.raises(UnavailableError, match="goes on when it is back"):
        asyncio.run(read())
