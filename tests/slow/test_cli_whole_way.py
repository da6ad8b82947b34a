"""The command line against the real server, with a tiny base: tune, look, ask, delete, stop."""

import json
import os
import re
import signal
import subprocess
import sys

import pandas as pd
import pytest

_SECONDS = 300.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running `luthier serve`; its process, and the environment in which commands find it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUTHIER_")}
    environment |= {"LUTHIER_HOME": str(tmp_path_factory.mktemp("home")), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-u", "-m", "luthier.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    greeting = process.stdout.readline()
    url = re.search(r"http://\S+", greeting)
    assert url is not None, greeting
    yield process, environment | {"OPENAI_API_BASE": f"{url[0]}/v1", "OPENAI_BASE_URL": ""}
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def run(server, tmp_path_factory):
    """Runs a command to its end in a folder that holds `train.jsonl`."""
    folder = tmp_path_factory.mktemp("work")
    rows = [{"prompt": f"{word} ->", "completion": f" {word[:1]}"} for word in ("apple", "brick", "bread", "axle")]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def call(*words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "luthier.cli.main", *words],
            cwd=folder,
            env=server[1],
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    call.folder = folder
    return call


def test_the_whole_way(server, run, tiny_base):
    said = run("tune", "train.jsonl", "-v", "train.jsonl", "-m", str(tiny_base), "--n_epochs", "2", "--batch_size", "2")
    assert "Uploaded train.jsonl" in said
    assert "train.jsonl is on the server already" in said  # as validation file
    assert "Completed epoch 2/2" in said
    assert "Status: succeeded" in said
    assert re.search(r"validation_loss +\d", said)
    job_id = re.search(r"Created fine-tune: (ft-\w+)", said)[1]
    model = re.search(r"luthier complete (\S+)", said)[1]

    assert model in run("jobs")
    assert "n_epochs" in run("job", job_id)
    run("results", job_id, "-o", "result.csv")
    table = pd.read_csv(run.folder / "result.csv")
    assert list(table["step"]) == [1, 2, 3, 4]
    assert (run.folder / "result.png").read_bytes().startswith(b"\x89PNG")
    assert run("api", "fine_tunes.results", "-i", job_id) == (run.folder / "result.csv").read_text(encoding="utf-8")
    assert "Completed epoch 2/2" in run("follow", job_id)

    file_id = re.search(r"file-\w+", said)[0]
    assert f"It is the training file of {job_id}" in run("follow", file_id, code=1)

    assert len(run("complete", model, "apple ->", "-M", "3", "-t", "0")) > 1
    assert "Log probability" in run("complete", model, "apple ->", "-M", "2", "-t", "0", "--logprobs", "2")
    assert run("completions.create", "-m", model, "-p", "apple ->", "-M", "1", "-t", "0").startswith("apple ->")
    assert model in run("models.list")

    assert run("rm", model, job_id, file_id).count("Deleted") == 3
    assert "No fine-tunes yet" in run("jobs")
    assert run("complete", model, "x", code=1).startswith("Error: ")

    process = server[0]
    process.send_signal(signal.SIGINT)
    assert "Stopped." in process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "luthier serve" in run("jobs", code=1)
