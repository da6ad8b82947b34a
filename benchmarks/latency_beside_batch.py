"""How long somebody waits for an answer while a batch is being answered.

One caller asks for completions, one after the other: of an idle server; beside a batch; and, for comparison, beside
callers who send the batch's requests themselves, eight at once, as people do without batches.

    python benchmarks/latency_beside_batch.py [--asks 20] [--model ada]
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import openai
from machine import machine

from luthier.config import load_settings

START_SECONDS = 180
TEXT = "I bought this coffee twice. The first bag was fresh and strong, the second one tasted of cardboard. "
LOAD_REQUESTS, LOAD_CALLERS = 5_000, 8  # more than are answered while it is measured; as many at once as of a batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, default=20, help="answers that are waited for, each time")
    parser.add_argument("--model", default="ada")
    parser.add_argument("--max-tokens", type=int, default=16, help="of an answer that is waited for")
    parser.add_argument("--load-tokens", type=int, default=32, help="of an answer of the batch")
    options = parser.parse_args()
    print(machine())
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="luthier-bench-")))
        url = opened.enter_context(server(folder))
        client = opened.enter_context(openai.OpenAI(base_url=url, api_key="sk-any", max_retries=0, timeout=600))
        ask(client, options, TEXT)  # loads the weights
        rows = {"alone": measure(client, options)}
        for name, load in (("beside a batch", batch), ("beside eight callers", callers)):
            with load(client, options, folder) as done:
                before = done()
                rows[name] = measure(client, options)
                rows[name]["answers of the load a second"] = (done() - before) / rows[name].pop("seconds")
        rows["alone"].pop("seconds")
    show(options, rows)


def ask(client: openai.OpenAI, options: argparse.Namespace, text: str, tokens: int | None = None) -> None:
    client.completions.create(model=options.model, prompt=text, max_tokens=tokens or options.max_tokens, temperature=0)


def measure(client: openai.OpenAI, options: argparse.Namespace) -> dict[str, float]:
    """The waits of one caller, in milliseconds, and how long all of them took together."""
    waits = []
    begun = time.perf_counter()
    for number in range(options.asks):
        at = time.perf_counter()
        ask(client, options, f"{number}. {TEXT}")
        waits.append((time.perf_counter() - at) * 1000)
    seconds = time.perf_counter() - begun
    return {"median ms": statistics.median(waits), "longest ms": max(waits), "seconds": seconds}


@contextmanager
def batch(client: openai.OpenAI, options: argparse.Namespace, folder: Path) -> Iterator[Callable[[], int]]:
    """A batch that is being answered; yields what tells how many of it are."""
    body = {"model": options.model, "prompt": TEXT, "max_tokens": options.load_tokens, "temperature": 1}
    path = folder / "requests.jsonl"
    path.write_text(
        "".join(
            json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": body}) + "\n"
            for number in range(LOAD_REQUESTS)
        )
    )
    with path.open("rb") as file:
        requests = client.files.create(file=file, purpose="batch")
    made = client.batches.create(input_file_id=requests.id, endpoint="/v1/completions", completion_window="24h")

    def done() -> int:
        counts = client.batches.retrieve(made.id).request_counts
        return counts.completed if counts else 0

    while not done():
        time.sleep(0.1)
    yield done
    client.batches.cancel(made.id)
    while client.batches.retrieve(made.id).status != "cancelled":
        time.sleep(0.1)


@contextmanager
def callers(client: openai.OpenAI, options: argparse.Namespace, _folder: Path) -> Iterator[Callable[[], int]]:
    """Callers who wait for such answers themselves; yields what tells how many they have got."""
    stop, answered, lock = threading.Event(), 0, threading.Lock()

    def call() -> None:
        nonlocal answered
        while not stop.is_set():
            ask(client, options, TEXT, options.load_tokens)
            with lock:
                answered += 1

    threads = [threading.Thread(target=call) for _ in range(LOAD_CALLERS)]
    for thread in threads:
        thread.start()
    while not answered:
        time.sleep(0.1)
    yield lambda: answered
    stop.set()
    for thread in threads:
        thread.join()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server of its own state; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "LUTHIER_HOME": str(folder / "home")}
    if "LUTHIER_MODELS" not in environment:
        environment["LUTHIER_MODELS"] = str(load_settings().models_dir)
    command = [sys.executable, "-m", "luthier.cli.main", "serve", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while "ready" not in (folder / "server.log").read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit((folder / "server.log").read_text())
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def show(options: argparse.Namespace, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{'':22}{'median':>10}{'longest':>10}   answers of the load a second")
    for name, row in rows.items():
        rate = row.get("answers of the load a second")
        told = f"{rate:.1f}" if rate is not None else ""
        print(f"{name:22}{row['median ms']:>7.0f} ms{row['longest ms']:>7.0f} ms   {told}")
    print(json.dumps({"machine": machine(), "model": options.model, "asks": options.asks, "rows": rows}))


if __name__ == "__main__":
    main()
