"""Fixtures of the contract tests: a real server on a free port of this machine, and the clients that people have."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from contract_helpers import IdleExecutor, OldClient, Server, serve
from filelock import FileLock
from openai.types.fine_tuning import FineTuningJob

from luthier.config import Settings
from luthier.testing import PLAIN_CHAT, TOOL_CHAT, make_byte_vocabulary, make_tiny_base

OLD_CLIENT = "openai==0.27.2"


@pytest.fixture(scope="session")
def server(tiny_base: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all contract tests of a worker; its names stand for the tiny base and the tiny encoder.

    `gpt-4o-mini` is a base that chats, `gpt-4o` one that takes tools too. A token of an embedding's input is a byte.
    """
    home = tmp_path_factory.mktemp("server")
    folders = {
        "ada": tiny_base,
        "babbage": tiny_base,
        "text-embedding-ada-002": tiny_encoder,
        "text-embedding-3-small": tiny_encoder,
    }
    for name, template, context in (("gpt-4o-mini", PLAIN_CHAT, 512), ("gpt-4o", TOOL_CHAT, 2048)):
        folders[name] = make_tiny_base(home / name, chat_template=template, context_length=context)
    lines = [f'"{name}" = "{folder.as_posix()}"\n' for name, folder in folders.items()]
    (home / "aliases.toml").write_text("[aliases]\n" + "".join(lines), encoding="utf-8")
    make_byte_vocabulary(home / "models")
    with serve(
        Settings(
            home=home,
            models=home / "models",
            heartbeat_seconds=0.5,
            progress_seconds=0.2,
            max_file_bytes=2_000_000,
            max_body_bytes=300_000,
            max_line_bytes=100_000,
            import_hosts=("127.0.0.1",),
        )
    ) as running:
        yield running


@pytest.fixture(scope="module")
def idle_settings(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """For a server that takes jobs and never starts them."""
    home = tmp_path_factory.mktemp("idle")
    chats = make_tiny_base(home / "chats", chat_template=TOOL_CHAT)
    lines = f'[aliases]\nada = "{tiny_base.as_posix()}"\ngpt-4o = "{chats.as_posix()}"\n'
    (home / "aliases.toml").write_text(lines, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.server.wiring.LocalExecutor", IdleExecutor)
        yield Settings(home=home, max_body_bytes=300_000)


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[openai.OpenAI]:
    """Today's client."""
    with openai.OpenAI(base_url=server.url, api_key="sk-test", max_retries=0, timeout=60) as today:
        yield today


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The Python of an environment that holds `openai==0.27.2` and pandas, made once for this user."""
    default = Path.home() / ".cache" / "luthier-tests" / OLD_CLIENT.replace("==", "-")
    home = Path(os.environ.get("OLD_OPENAI_CLIENT", default))
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(home.name + ".lock")):
        if _run([str(python), "-c", "import openai, pandas, numpy"]) is not None:
            made = [
                [sys.executable, "-m", "venv", str(home)],
                [str(python), "-m", "pip", "install", OLD_CLIENT, "pandas"],
            ]
            for command in made:
                if (problem := _run(command)) is not None:
                    pytest.skip(f"{OLD_CLIENT} cannot be installed: {problem}")
    return python


def _run(command: list[str]) -> str | None:
    """What went wrong, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip() or "it failed").splitlines()[-1]


@pytest.fixture
def old_client(old_python: Path, server: Server, tmp_path: Path) -> OldClient:
    return OldClient(old_python, server.url, tmp_path)


@pytest.fixture(scope="session")
def make_wait() -> Callable[[openai.OpenAI], Callable[[str], FineTuningJob]]:
    """Makes what waits until a job of either dialect is over."""

    def of(client: openai.OpenAI) -> Callable[[str], FineTuningJob]:
        def until_final(job_id: str) -> FineTuningJob:
            deadline = time.monotonic() + 400
            while (job := client.fine_tuning.jobs.retrieve(job_id)).status in ("queued", "running"):
                assert time.monotonic() < deadline, f"{job_id} is still {job.status}"
                time.sleep(0.1)
            return job

        return until_final

    return of


@pytest.fixture(scope="session")
def wait(
    client: openai.OpenAI, make_wait: Callable[[openai.OpenAI], Callable[[str], FineTuningJob]]
) -> Callable[[str], FineTuningJob]:
    """Waits until a job of either dialect is over."""
    return make_wait(client)
