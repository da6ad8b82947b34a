"""`luthier quickstart`: the whole way once, on the bundled sample, by the very commands a person would type."""

import json
import math
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli import render
from luthier.cli.remote import Json
from luthier.errors import LuthierError, UnavailableError

if TYPE_CHECKING:
    from luthier.cli.client import Client

_SAMPLE = "edible.csv"
_LABELS = (" edible", " inedible")
_LABEL_TOKENS = 3  # of the longest label
_UNSEEN = ("a bowl of porridge", "a tractor engine", "grilled aubergine", "a folded umbrella")
_START_SECONDS = 120.0  # a slow machine needs its time to load the libraries


def quickstart() -> None:
    """Do everything once on a bundled sample: prepare, tune, measure, ask. Takes a few minutes."""
    from luthier.config import load_settings

    folder = load_settings().home / "quickstart"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
    folder.mkdir(parents=True)
    sample = resources.files("luthier.samples").joinpath(_SAMPLE)
    (folder / _SAMPLE).write_bytes(sample.read_bytes())
    began = time.monotonic()

    _title("1  The base model")
    _run(folder, "pull", "ada")
    _title("2  Prepare the examples")
    _run(folder, "prepare", _SAMPLE, "-q")
    train, valid = (f"{Path(_SAMPLE).stem}_prepared_{part}.jsonl" for part in ("train", "valid"))
    _title("3  Start a server, upload, tune")
    with _key() as key, _server(folder, key) as client:
        access = {"OPENAI_BASE_URL": client.url, "OPENAI_API_KEY": key}
        _run(folder, "tune", train, "-v", valid, "--classification-positive-class", _LABELS[0], **access)
        job = client.get("fine-tunes")["data"][-1]
        _title("4  How the training went")
        _run(folder, "results", job["id"], "-o", "results.csv", **access)
        _title("5  Ask it about things that it never saw")
        _ask(client, job["fine_tuned_model"], _separator(folder / train))
    _farewell(folder, job, time.monotonic() - began)


def _title(text: str) -> None:
    render.say(f"\n{text}", style="bold")


def _run(folder: Path, *words: str, **environment: str) -> None:
    """Run one of our own commands in `folder`, visibly."""
    render.say(f"$ luthier {shlex.join(words)}", style="cyan")
    command = [sys.executable, "-m", "luthier.cli.main", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, check=False)
    if done.returncode:
        raise LuthierError(f"`luthier {words[0]}` did not succeed; its last lines say why. The files are in {folder}.")


@contextmanager
def _key() -> Iterator[str]:
    """A key for our own calls, revoked at the end; none where the server asks nobody for one."""
    from luthier.cli.keys import key_service
    from luthier.config import load_settings
    from luthier.domain.names import new_id
    from luthier.services.access import AccessService
    from luthier.services.oidc import TokenVerifier

    settings = load_settings()
    with key_service() as keys:
        if not AccessService(settings, keys, TokenVerifier.of(settings)).asks():
            yield ""
            return
        key, secret = keys.create(new_id("quickstart-"))
        try:
            yield secret
        finally:
            keys.revoke(key.id)


@contextmanager
def _server(folder: Path, key: str) -> Iterator["Client"]:
    """A server of our own at a free port, stopped at the end."""
    from luthier.cli.client import Client

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    render.say(f"$ luthier serve --port {port} > {log.name} &", style="cyan")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier.cli.main", "serve", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        with Client(f"http://127.0.0.1:{port}/v1", key) as client:
            _wait_for(client, process, log)
            yield client
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(client: "Client", process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            client.get("files")
            return
        except UnavailableError:
            time.sleep(0.2)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise LuthierError(f"The server did not start: {' '.join(last) or 'it said nothing'} (all of it: {log})")


def _separator(prepared: Path) -> str:
    """What `prepare` put at the end of each prompt, so that a model knows where its answer begins."""
    from luthier.datasets.text import common_suffix

    lines = prepared.read_text(encoding="utf-8").splitlines()
    return common_suffix([json.loads(line)["prompt"] for line in lines])


def _ask(client: "Client", model: str, separator: str) -> None:
    """Answers, and how sure the model is: the probability of each label as a whole."""
    rows = []
    for item in _UNSEEN:
        prompt = item + separator
        body = {"model": model, "prompt": prompt, "max_tokens": _LABEL_TOKENS, "temperature": 0}
        answer = client.post("completions", body=body)["choices"][0]["text"]
        # The longest label sets the number of tokens; after a shorter one the model goes on.
        answer = next((label for label in _LABELS if answer.startswith(label)), answer)
        texts = [prompt + label for label in _LABELS]
        body = {"model": model, "prompt": texts, "max_tokens": 0, "echo": True, "logprobs": 0}
        scored = client.post("completions", body=body)["choices"]
        sums = [_label_logprob(choice["logprobs"], len(prompt)) for choice in scored]
        rows.append((item, answer.strip(), *(f"{value:.3f}  ({math.exp(value):.1%})" for value in sums)))
    headings = ("Thing", "Answer", *(f"log p({label.strip()})" for label in _LABELS))
    render.console().print(render.table(headings, rows, right=headings[2:]))
    example = ("luthier", "complete", model, _UNSEEN[0] + separator, "-M", "1", "-t", "0", "--logprobs", "2")
    render.say(f"\nOne of them by hand, with a server running:\n$ {_shell(example)}", style="cyan")


def _label_logprob(logprobs: Json, prompt_length: int) -> float:
    """Log probability of all tokens from position `prompt_length` of the text on."""
    pairs = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
    return math.fsum(value for offset, value in pairs if offset >= prompt_length)


def _shell(words: tuple[str, ...]) -> str:
    """A command line for bash and zsh; newlines are written as `\\n`."""
    return " ".join(_with_escapes(word) if "\n" in word else shlex.quote(word) for word in words)


def _with_escapes(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{escaped}'"


def _farewell(folder: Path, job: Json, seconds: float) -> None:
    render.say(f"\nAll done in {render.duration(seconds)}.", style="bold green")
    render.say(
        f"The examples, the results table and its plots (results.png, results.html) are in {folder}\n\n"
        "Next:\n"
        "  luthier serve                            start your server; it knows the model that you just tuned:\n"
        f"                                           {job['fine_tuned_model']}\n"
        "  luthier prepare YOUR.csv                 check and mend examples of your own (JSONL, CSV, TSV, XLSX, …)\n"
        "  luthier tune YOUR_prepared_train.jsonl   tune on them\n"
        "  luthier --help                           all the rest"
    )
    if shutil.which("luthier") is None:
        render.say(f"\nYour shell finds the command as {Path(sys.executable).with_name('luthier')}")
