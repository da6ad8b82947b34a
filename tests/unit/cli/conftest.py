"""A server of plain Python behind the command line: no network, no models."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from luthier.cli import client as client_module
from luthier.cli.chat import spread_messages
from luthier.cli.fine_tunes import spread_betas
from luthier.cli.main import app
from luthier.cli.remote import Json


@dataclass
class FakeServer:
    """Keeps files and one job, and what was asked of it."""

    calls: list[str] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    file_rows: list[Json] = field(default_factory=list)
    jobs: list[Json] = field(default_factory=list)
    streams: list[bytes] = field(default_factory=list)  # of events, one a request
    completion: Json = field(default_factory=dict)
    deployments: list[Json] = field(default_factory=list)
    deployment: Json = field(default_factory=dict)  # as the next creation answers

    @staticmethod
    def sse(*objects: Json) -> bytes:
        """Objects as a stream writes them."""
        return (
            "".join(f"data: {json.dumps(item)}\n\n: heartbeat\n\n" for item in objects).encode() + b"data: [DONE]\n\n"
        )

    @staticmethod
    def event(message: str, number: int) -> Json:
        return {"id": f"ftevent-{number}", "created_at": 1_700_000_000 + number, "level": "info", "message": message}

    def add_file(self, name: str, content: bytes, purpose: str = "fine-tune", **more: Any) -> Json:
        row = {
            "id": f"file-{len(self.files) + 1}",
            "object": "file",
            "filename": name,
            "bytes": len(content),
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
            "created_at": 1_700_000_000,
        } | more
        self.files[row["id"]] = content
        self.file_rows.append(row)
        return row

    def add_job(self, status: str = "succeeded", **more: Any) -> Json:
        job = {
            "id": f"ft-{len(self.jobs) + 1}",
            "object": "fine-tune",
            "status": status,
            "model": "ada",
            "fine_tuned_model": "ada:ft-personal-2023" if status == "succeeded" else None,
            "created_at": 1_700_000_000,
            "hyperparams": {"n_epochs": 4},
            "training_files": [],
            "validation_files": [],
            "result_files": [],
            "events": [],
        } | more
        self.jobs.append(job)
        return job

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().split("?")[0].removeprefix("/v1/")
        call = f"{request.method} {path}"
        self.calls.append(call)
        if request.headers.get("content-type") == "application/json":
            self.bodies.append(json.loads(request.content))
        for pattern, answer in self._routes().items():
            if found := re.fullmatch(pattern, call):
                return answer(request, *found.groups())
        return self._refuse(404, f"No such path: {call}")

    def _routes(self) -> dict[str, Callable[..., httpx.Response]]:
        return {
            "GET files": lambda _: self._ok({"data": self.file_rows}),
            "POST files": self._upload,
            "GET files/([^/]+)": lambda _, name: self._one(self.file_rows, name),
            "GET files/([^/]+)/content": lambda _, name: httpx.Response(200, content=self.files[name]),
            "GET fine-tunes": lambda _: self._ok({"data": self.jobs}),
            "POST fine-tunes": lambda _: self._ok(self.add_job("running")),
            "GET fine-tunes/([^/]+)": lambda _, name: self._one(self.jobs, name),
            "GET fine-tunes/([^/]+)/events": self._events,
            "POST fine-tunes/([^/]+)/cancel": lambda _, name: self._one(self.jobs, name),
            "POST fine_tuning/jobs": lambda _: self._ok(self.add_job("running")),
            "POST fine_tuning/jobs/([^/]+)/(?:pause|resume)": lambda _, name: self._one(self.jobs, name),
            "DELETE (files|fine-tunes|models)/([^/]+)": lambda _, *names: self._ok({"id": names[1], "deleted": True}),
            "GET models": lambda _: self._ok({"data": [{"id": "ada"}]}),
            "GET models/([^/]+)": lambda _, name: self._ok({"id": name}),
            "GET /openai/deployments": lambda _: self._ok({"data": self.deployments}),
            "PUT /openai/deployments/([^/]+)": lambda *_: self._ok(self.deployment),
            "DELETE /openai/deployments/([^/]+)": lambda _, name: self._ok({"id": name, "deleted": True}),
            "POST (?:chat/)?completions": lambda _: (
                httpx.Response(200, content=self.streams.pop(0)) if self.streams else self._ok(self.completion)
            ),
        }

    def _upload(self, request: httpx.Request) -> httpx.Response:
        name = re.search(rb'filename="([^"]+)"', request.content)
        content = re.search(rb"\r\n\r\n(.*)\r\n--", request.content[request.content.index(b"filename") :], re.DOTALL)
        assert name is not None
        assert content is not None
        more = {"status": "error", "status_details": "line 1: no JSON"} if b"broken" in content[1] else {}
        return self._ok(self.add_file(name[1].decode(), content[1], **more))

    def _events(self, request: httpx.Request, name: str) -> httpx.Response:
        if "stream" not in request.url.params:
            return self._ok({"data": [self.event("Created", 1)]})
        stream = self.streams.pop(0)
        if not self.streams:
            for job in self.jobs:
                if job["id"] == name and job["status"] == "running":
                    job |= {"status": "succeeded", "fine_tuned_model": "ada:ft-personal-2023"}
        return httpx.Response(200, content=stream, headers={"Content-Type": "text/event-stream"})

    def _one(self, rows: list[Json], name: str) -> httpx.Response:
        for row in rows:
            if row["id"] == name:
                return self._ok(row)
        return self._refuse(404, f"No such object: {name}")

    def _ok(self, answer: Any) -> httpx.Response:
        return httpx.Response(200, json=answer)

    def _refuse(self, status: int, message: str) -> httpx.Response:
        return httpx.Response(status, json={"error": {"message": message, "type": "invalid_request_error"}})


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """What each command that calls a server reaches."""
    fake = FakeServer()
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    class FakeClient(client_module.Client):
        def __init__(self, url: str, api_key: str = "") -> None:
            super().__init__(url, api_key, transport=httpx.MockTransport(fake))

    monkeypatch.setattr(client_module, "Client", FakeClient)
    return fake


@pytest.fixture
def luthier() -> Callable[..., Result]:
    """Runs a command line against the fake server; a failed one's exception is in `result.exception`."""

    def run(*words: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, spread_messages(spread_betas(list(words))), input=input)

    return run
