"""Embeddings a second beside sentence-transformers and infinity, at equal quality.

Every side embeds the same texts with the same weights in a process of its own, one after the other: Luthier's engine
in-process and its server over HTTP, sentence-transformers in float32 (its default) and in bfloat16, infinity (torch)
over HTTP. Servers are asked by 32 callers at once. Texts longer than the weights read are left out. The least cosine
is that to sentence-transformers in float32.

    python benchmarks/embedding_throughput.py [--model text-embedding-3-small …] [--texts FILE.csv --column Text]

infinity runs in an environment of its own, made once in `--infinity-env` unless `--infinity-python` names an
interpreter that has it; `--sides` leaves sides out.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

INFINITY_PACKAGES = ("torch==2.13.0", "infinity-emb[torch,server]")
REFERENCE = "sentence-transformers float32"
SIDES = ("luthier", "luthier http", REFERENCE, "sentence-transformers bfloat16", "infinity http")
CALLERS = 32
START_SECONDS = 180


def main() -> None:
    options = parse()
    if options.side:
        run_side(options.side, options.work)
        return
    for model in options.model:
        with tempfile.TemporaryDirectory(prefix="luthier-bench-", ignore_cleanup_errors=True) as made:
            compare(options, model, Path(made))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["text-embedding-3-small", "text-embedding-ada-002"])
    parser.add_argument("--texts", type=Path, help="a CSV; by default the food reviews of LUTHIER_TEST_DATA")
    parser.add_argument("--column", default="Text")
    parser.add_argument("--rows", type=int, default=0, help="take the first so many; 0 takes all")
    parser.add_argument("--repeat", type=int, default=1, help="take all texts so many times over, for a longer run")
    parser.add_argument("--per-request", type=int, default=16, help="texts in a request over HTTP")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--infinity-python", type=Path)
    parser.add_argument("--infinity-env", type=Path, default=Path(tempfile.gettempdir()) / "luthier-infinity")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)  # what a process of its own is to do
    return parser.parse_args()


def compare(options: argparse.Namespace, model: str, work: Path) -> None:
    from luthier.config import load_settings
    from luthier.modeling.bases import BaseStore

    folder = BaseStore(load_settings()).ensure(model).path
    given = read_texts(options)
    fitting = those_that_fit(given, folder)
    texts = fitting * options.repeat
    print(f"{len(given) - len(fitting)} texts are longer than the weights read and are left out.", file=sys.stderr)
    python = None
    if "infinity http" in options.sides:
        python = str(options.infinity_python or infinity_python(options.infinity_env))
    plan = {"model": model, "folder": str(folder), "texts": texts, "per_request": options.per_request, "python": python}
    (work / "plan.json").write_text(json.dumps(plan))
    results = {side: run_apart(side, work) for side in SIDES if side in options.sides}
    report(model, len(texts), options.per_request, results, work)


def read_texts(options: argparse.Namespace) -> list[str]:
    import pandas as pd

    path = options.texts
    if path is None and (data := os.environ.get("LUTHIER_TEST_DATA")):
        path = Path(data) / "fine_food_reviews_1k.csv"
    if path is None:
        sys.exit("Name a CSV with --texts FILE --column NAME.")
    column = pd.read_csv(path)[options.column].astype(str)
    return [text for text in column if text.strip()][: options.rows or None]


def those_that_fit(texts: Sequence[str], folder: Path) -> list[str]:
    """Without the texts that some sides cut and others read in pieces."""
    from luthier.modeling.encoder_card import EncoderCard
    from luthier.modeling.pieces import Overlong, PieceReader

    pieces = PieceReader(EncoderCard.read(folder)).read(texts, "", Overlong.SPLIT)
    return [text for text, own in zip(texts, pieces, strict=True) if len(own) == 1]


def infinity_python(folder: Path) -> Path:
    """The interpreter of an environment with infinity, which is made if need be."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        print(f"Installing {', '.join(INFINITY_PACKAGES)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *INFINITY_PACKAGES], check=True)
        (folder / "complete").touch()
    return python


def run_apart(side: str, work: Path) -> dict[str, Any]:
    print(f"{side} …", file=sys.stderr, flush=True)
    with (work / f"{side}.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, __file__, "--side", side, "--work", work], stdout=log, stderr=subprocess.STDOUT
        )
    if done.returncode:
        sys.exit(f"{side} ended with exit code {done.returncode}:\n{(work / f'{side}.log').read_text()[-3000:]}")
    result: dict[str, Any] = json.loads((work / f"{side}.json").read_text())
    return result


def run_side(side: str, work: Path) -> None:
    """In a process of its own: embed once to warm up, then all; seconds and vectors."""
    plan = json.loads((work / "plan.json").read_text())
    sides = {
        "luthier": luthier_engine,
        "luthier http": luthier_server,
        REFERENCE: sentence_transformers,
        "sentence-transformers bfloat16": sentence_transformers,
        "infinity http": infinity_server,
    }
    with sides[side](plan, side, work) as embed:
        embed(plan["texts"][: 2 * CALLERS])
        start = time.perf_counter()
        vectors = embed(plan["texts"])
        seconds = time.perf_counter() - start
    np.save(work / f"{side}.npy", np.asarray(vectors, dtype=np.float32))
    (work / f"{side}.json").write_text(json.dumps({"seconds": seconds, "texts_per_second": len(vectors) / seconds}))


Embed = Callable[[Sequence[str]], Any]


@contextmanager
def luthier_engine(plan: dict[str, Any], _side: str, _work: Path) -> Iterator[Embed]:
    from luthier.config import load_settings
    from luthier.embedding.batcher import EmbeddingEngine
    from luthier.modeling.encoder_card import EncoderWeights
    from luthier.modeling.pieces import Overlong

    engine = EmbeddingEngine(load_settings())
    engine.start()
    yield lambda texts: engine.submit(EncoderWeights(Path(plan["folder"])), texts, overlong=Overlong.CUT).result()
    engine.stop()


@contextmanager
def sentence_transformers(plan: dict[str, Any], side: str, _work: Path) -> Iterator[Embed]:
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = torch.float32 if side == REFERENCE else torch.bfloat16
    model = SentenceTransformer(plan["folder"], device="cpu", model_kwargs={"torch_dtype": dtype})
    yield lambda texts: model.encode(list(texts), convert_to_tensor=True).float().numpy()


@contextmanager
def luthier_server(plan: dict[str, Any], side: str, work: Path) -> Iterator[Embed]:
    port = free_port()
    environment = dict(os.environ, LUTHIER_HOME=str(work / "home"))
    if "LUTHIER_MODELS" not in environment:
        from luthier.config import load_settings

        environment["LUTHIER_MODELS"] = str(load_settings().models_dir)
    command = [sys.executable, "-m", "luthier.cli.main", "serve", "--port", str(port)]
    with server(command, environment, f"http://127.0.0.1:{port}/v1", work / f"{side} server.log") as url:
        yield over_http(url, plan["model"], plan["per_request"])


@contextmanager
def infinity_server(plan: dict[str, Any], side: str, work: Path) -> Iterator[Embed]:
    port = free_port()
    runner = str(Path(plan["python"]).with_name("infinity_emb"))
    command = [runner, "v2", "--model-id", plan["folder"], "--served-model-name", "it", "--port", str(port)]
    command += ["--engine", "torch", "--device", "cpu", "--no-model-warmup"]
    environment = dict(os.environ, HF_HUB_OFFLINE="1", DO_NOT_TRACK="1")
    with server(command, environment, f"http://127.0.0.1:{port}", work / f"{side} server.log") as url:
        yield over_http(url, "it", plan["per_request"])


@contextmanager
def server(command: list[str], environment: dict[str, str], url: str, log: Path) -> Iterator[str]:
    """A server for as long as it is needed; it is there once it lists its models."""
    import httpx

    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"{url}/models", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def over_http(url: str, model: str, per_request: int) -> Embed:
    import httpx

    def embed(texts: Sequence[str]) -> list[list[float]]:
        parts = [texts[at : at + per_request] for at in range(0, len(texts), per_request)]
        with httpx.Client(timeout=600, limits=httpx.Limits(max_connections=CALLERS)) as client:

            def ask(part: Sequence[str]) -> list[list[float]]:
                answer = client.post(f"{url}/embeddings", json={"model": model, "input": list(part)})
                answer.raise_for_status()
                return [item["embedding"] for item in sorted(answer.json()["data"], key=lambda item: item["index"])]

            with ThreadPoolExecutor(CALLERS) as callers:
                return [vector for vectors in callers.map(ask, parts) for vector in vectors]

    return embed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def report(model: str, n_texts: int, per_request: int, results: dict[str, dict[str, Any]], work: Path) -> None:
    print(f"Machine: {machine()}")
    print(f"{model}: {n_texts} texts; over HTTP {CALLERS} callers, {per_request} texts a request\n")
    print(f"{'':32}{'texts/s':>9}{'least cosine':>14}{'Luthier is':>12}")
    ours = results.get("luthier", {}).get("texts_per_second", float("nan"))
    expected = unit(np.load(work / f"{REFERENCE}.npy")) if REFERENCE in results else None
    for side, result in results.items():
        if expected is not None:
            result["least_cosine"] = float((unit(np.load(work / f"{side}.npy")) * expected).sum(axis=1).min())
        result["ratio"] = ours / result["texts_per_second"]
        cosine = f"{result.get('least_cosine', float('nan')):14.6f}"
        times = "" if side == "luthier" else f"{result['ratio']:6.2f} times as fast"
        print(f"{side:32}{result['texts_per_second']:9.1f}{cosine}{times}")
    summary = {"benchmark": "embedding_throughput", "machine": machine(), "model": model, "texts": n_texts}
    print("\n" + json.dumps({**summary, "per_request": per_request, "results": results}) + "\n")


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
