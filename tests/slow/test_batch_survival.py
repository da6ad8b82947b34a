"""A batch survives `kill -9`: no answer is lost, none is made twice."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.config import Settings
from luthier.domain.batch import BatchStatus
from luthier.services.batches import BatchService, CreateBatch
from luthier.services.files import FileService
from luthier.storage.batches import BatchStore
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")

_LINES, _KILLS, _SECONDS = 400, 4, 120.0
_PATH = "/v1/completions"
# A server without models: it answers each request after a moment, and writes down which it began.
_SERVER = """
import asyncio, sys, time
from luthier.config import load_settings
from luthier.services.batch_runner import BatchRunner
from luthier.storage.batches import BatchStore
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
settings = load_settings()
begun = open(sys.argv[1], "a", buffering=1)
async def answer(body):
    begun.write(body["prompt"] + "\\n")
    await asyncio.sleep(0.005)
    return {"text": body["prompt"] * 50, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
BatchRunner(settings, BatchStore(Database.open(settings)), Blobs(settings), {"/v1/completions": answer}, print).start()
time.sleep(3600)
"""


class Nobody:
    def wake(self) -> None:
        """The servers of this test come later."""


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    database = Database.open(settings)
    store, files, blobs = BatchStore(database), FileStore(database), Blobs(settings)
    lines = [
        {"custom_id": f"c{n}", "method": "POST", "url": _PATH, "body": {"model": "ada", "prompt": f"p{n}"}}
        for n in range(_LINES)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = FileService(settings, files, blobs).create("r.jsonl", "batch", [content])
    made = BatchService(settings, store, files, [_PATH], Nobody()).create(CreateBatch(file.id, _PATH, "24h"))
    begun = tmp_path / "begun"
    begun.touch()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LUTHIER_")},
        "LUTHIER_HOME": str(settings.home),
    }
    deadline = time.monotonic() + _SECONDS
    seen = 0
    for kill in range(_KILLS + 1):
        server = subprocess.Popen([sys.executable, "-c", _SERVER, str(begun)], env=environment)
        try:
            while True:
                assert time.monotonic() < deadline
                batch = store.get(made.id)
                if batch.status.is_final:
                    break
                if kill < _KILLS and (now := len(begun.read_text().split())) > seen + 40:
                    seen = now
                    break
                time.sleep(0.002)
        finally:
            server.kill()
            server.wait()
    batch = store.get(made.id)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.completed, batch.failed, batch.total) == (_LINES, 0, _LINES)
    assert (batch.input_tokens, batch.output_tokens) == (_LINES, 2 * _LINES)
    assert batch.output_file is not None
    answers = [json.loads(line) for line in blobs.path(batch.output_file).read_bytes().splitlines()]
    assert sorted(row["custom_id"] for row in answers) == sorted(line["custom_id"] for line in lines)
    assert all(row["response"]["body"]["text"] == f"p{row['custom_id'][1:]}" * 50 for row in answers)
    asked = begun.read_text().split()
    assert len(asked) <= _LINES + _KILLS * settings.batch_concurrency  # only what was being answered is asked again
