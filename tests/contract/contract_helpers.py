"""What the contract tests share: a running server, the old client, small training files."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from luthier.config import Settings
from luthier.server.app import create_app

SEPARATOR = "\n\n###\n\n"
LABELS = (" baseball", " hockey")
_START_SECONDS = 60


def rows(n: int, start: int = 0) -> list[dict[str, str]]:
    """Prompts of two kinds in turn, each with its label."""
    words = ("bat and pitcher", "puck and goalie")
    return [{"prompt": f"{words[i % 2]} {i}{SEPARATOR}", "completion": LABELS[i % 2]} for i in range(start, start + n)]


def jsonl(examples: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in examples).encode()


def write(path: Path, n: int, start: int = 0) -> Path:
    path.write_bytes(jsonl(rows(n, start)))
    return path


_LEGACY_STATUS = {"queued": "pending", "paused": "pending"}  # the others have one name in both dialects


def same_job(legacy: dict[str, Any], today: dict[str, Any]) -> None:
    """Assert that both dialects say the same of one job at one moment."""
    assert legacy["id"] == today["id"]
    assert legacy["status"] == _LEGACY_STATUS.get(today["status"], today["status"])
    for name in ("model", "fine_tuned_model", "created_at", "organization_id", "project_id"):
        assert legacy[name] == today[name], name
    for files, ids in (
        ("training_files", [today["training_file"]]),
        ("validation_files", [today["validation_file"]] if today["validation_file"] else []),
        ("result_files", today["result_files"]),
    ):
        assert [file["id"] for file in legacy[files]] == ids, files
    hyperparams = dict(legacy["hyperparams"])
    assert hyperparams.pop("seed") == today["seed"]
    assert {name: "auto" if value is None else value for name, value in hyperparams.items()} == today["hyperparameters"]


class IdleExecutor:
    """Takes no job from the queue."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        url: with /v1 at its end.
        home: its state.
    """

    url: str
    home: Path
    settings: Settings
    http: httpx.Client

    def call(self, method: str, path: str, **options: object) -> httpx.Response:
        """One request, past every client's own ideas."""
        return self.http.request(method, path, **options)  # type: ignore[arg-type]


@contextmanager
def serve(settings: Settings) -> Iterator[Server]:
    """Run the app on a free port until the context ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        # With its protocol named, asyncio turns Nagle's algorithm off; else each answer waits 40 ms for an ACK.
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server ended while it started"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        try:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
                yield Server(url, settings.home, settings, http)
        finally:
            server.should_exit = True
            thread.join(30)
            if thread.is_alive():  # bounded, but no usual end: whoever reads the tests' output learns what it waits for
                warnings.warn(f"the server takes more than 30 s to stop\n\n{_stacks()}", stacklevel=2)
                thread.join(60)
            assert not thread.is_alive(), f"the server did not stop\n\n{_stacks()}"


def _stacks() -> str:
    """Where each thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


@dataclass(frozen=True)
class OldClient:
    """The client of the document, in a process of its own.

    Args:
        more: further variables of its environment.
    """

    python: Path
    url: str
    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        mine = {"OPENAI_API_BASE": self.url, "OPENAI_API_KEY": "sk-test", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
        return kept | mine | self.more

    def command(self, *words: str) -> list[str]:
        """`openai WORDS`, as started without its script, which not every system has."""
        return [str(self.python), "-c", "import sys; from openai._openai_scripts import main; sys.exit(main())", *words]

    def __call__(self, *words: str, fails: bool = False) -> str:
        """Run the command line and give back what it printed; both streams if it is to fail."""
        return self._finish(self.command(*words), fails=fails)

    def run(self, code: str) -> str:
        """Run Python lines and give back what they printed."""
        return self._finish([str(self.python), "-c", f"import json, openai\n{code}"], fails=False)

    def _finish(self, command: list[str], *, fails: bool) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert (done.returncode != 0) == fails, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout
