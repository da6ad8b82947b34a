"""Streams: heartbeats, the end, errors on the way, and a reader who leaves."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.types import Message

from luthier.errors import UnavailableError
from luthier.server.sse import DONE, HEARTBEAT, EventStream, encode, with_heartbeats

Items = AsyncGenerator[dict[str, Any], None]


async def _read(items: Items, heartbeat_seconds: float = 60) -> list[bytes]:
    return [bytes(chunk) async for chunk in EventStream(items, heartbeat_seconds).body_iterator]


def test_an_event_is_one_line_whatever_it_holds() -> None:
    line = encode({"message": "one\ntwo\r\u2028three ⚾"})
    assert line.startswith(b"data: ")
    assert line.endswith(b"\n\n")
    assert line.count(b"\n") == 2
    assert len(line.decode().splitlines()) == 2  # some clients end lines at more characters than a newline
    assert json.loads(line[6:])["message"] == "one\ntwo\r\u2028three ⚾"


def test_a_stream_ends_with_done() -> None:
    async def items() -> Items:
        yield {"n": 1}
        yield {"n": 2}

    assert asyncio.run(_read(items())) == [b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', DONE]


def test_a_silent_stream_has_heartbeats() -> None:
    async def items() -> Items:
        await asyncio.sleep(0.2)
        yield {"n": 1}

    chunks = asyncio.run(_read(items(), heartbeat_seconds=0.05))
    assert chunks[-2:] == [b'data: {"n":1}\n\n', DONE]
    assert 2 <= chunks.count(HEARTBEAT) <= 4


def test_an_error_on_the_way_is_told_and_ends_the_stream() -> None:
    async def items() -> Items:
        yield {"n": 1}
        raise UnavailableError("The engine has stopped.")

    chunks = asyncio.run(_read(items()))
    assert json.loads(chunks[-1][6:])["error"]["message"] == "The engine has stopped."
    assert DONE not in chunks


def test_a_crash_on_the_way_tells_nothing_of_its_inside() -> None:
    async def items() -> Items:
        yield {"n": 1}
        raise RuntimeError("secret")

    chunks = asyncio.run(_read(items()))
    assert b"secret" not in b"".join(chunks)
    assert json.loads(chunks[-1][6:])["error"]["code"] == "internal_error"


def test_a_reader_who_leaves_closes_the_items() -> None:
    closed = []

    async def items() -> Items:
        try:
            yield {"n": 1}
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    async def leave() -> None:
        stream = with_heartbeats(items(), 0.01)
        assert await anext(stream) == {"n": 1}
        assert await anext(stream) is None
        await stream.aclose()

    asyncio.run(leave())
    assert closed == [True]


def test_a_client_who_has_gone_before_the_first_event_stops_the_work() -> None:
    begun, stopped = [], []

    async def items() -> Items:
        begun.append(True)
        yield {"n": 1}

    async def stop() -> None:
        stopped.append(True)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        await asyncio.sleep(0)

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}  # as uvicorn's
    asyncio.run(EventStream(items(), 60, stop)(scope, gone, send))
    assert (begun, stopped) == ([], [True])
