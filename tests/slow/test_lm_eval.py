"""lm-evaluation-harness scores our server as it scores the same weights under transformers.

Needs an environment with `lm_eval[api,hf]`, named by LM_EVAL_PYTHON; without one the test is skipped:

    python -m venv lmeval && lmeval/bin/pip install 'lm_eval[api,hf]'
    LM_EVAL_PYTHON=lmeval/bin/python pytest tests/slow/test_lm_eval.py -s
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from luthier.config import Settings
from luthier.server.app import create_app

TASK = "luthier_choices"
PYTHON = os.environ.get("LM_EVAL_PYTHON", sys.executable)
FAR = 0.15  # nats between two log-likelihoods of a whole ending: transformers rounds the logits to bfloat16, we do not


@pytest.fixture(scope="module")
def lm_eval() -> None:
    done = subprocess.run([PYTHON, "-c", "import lm_eval"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{PYTHON} has no lm_eval; LM_EVAL_PYTHON names the interpreter that has")


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The URL of /v1 of a server that runs until the context ends."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
            assert thread.is_alive(), "the server ended while it started"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join(30)


def evaluate(folder: Path, model: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the task in `folder`: its results, and under `samples` what each ending got."""
    out = folder / model
    words = ",".join(f"{name}={value}" for name, value in arguments.items())
    command = [
        *(PYTHON, "-m", "lm_eval", "--model", model, "--model_args", words, "--tasks", TASK),
        *("--include_path", ".", "--device", "cpu", "--batch_size", "1", "--log_samples", "--output_path", str(out)),
    ]
    environment = {**os.environ, "OPENAI_API_KEY": "sk-test", "NO_PROXY": "*", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (results,) = out.rglob("results_*.json")
    (samples,) = out.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return json.loads(results.read_text(encoding="utf-8"))["results"][TASK] | {
        "samples": {row["doc_id"]: [float(answer[0][0]) for answer in row["resps"]] for row in rows},
    }


@pytest.mark.weights
@pytest.mark.usefixtures("lm_eval")
def test_accuracy_is_that_of_the_same_weights_under_transformers(ada_folder: Path, tmp_path: Path) -> None:
    for file in (Path(__file__).parent / "lm_eval").iterdir():
        shutil.copy(file, tmp_path)
    reference = evaluate(tmp_path, "hf", {"pretrained": ada_folder, "dtype": "bfloat16"})
    with serve(Settings(home=tmp_path / "home", models=ada_folder.parent)) as url:
        ours = evaluate(
            tmp_path,
            "local-completions",
            {"model": "ada", "base_url": f"{url}/completions", "tokenizer_backend": "huggingface"}
            | {"tokenizer": ada_folder, "tokenized_requests": True},
        )
    pairs = [
        (mine, theirs)
        for document, scores in ours["samples"].items()
        for mine, theirs in zip(scores, reference["samples"][document], strict=True)
    ]
    assert len(pairs) == 160
    furthest = max(abs(mine - theirs) for mine, theirs in pairs)
    print(f"accuracy: {ours['acc,none']:.4f} served, {reference['acc,none']:.4f} under transformers")
    print(f"furthest two log-likelihoods of one ending: {furthest:.4f}")
    assert furthest < FAR
    assert ours["acc,none"] == reference["acc,none"]
