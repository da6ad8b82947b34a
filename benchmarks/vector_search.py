"""Search over a million vectors: recall, latency, memory and build time of the embedded index, beside its peers.

    python benchmarks/vector_search.py FRAME.parquet … [--rows 1000000] [--sides luthier,exact] [--work FOLDER]

FRAMEs are embeddings of real texts, as `luthier embed` writes them. The vectors are made from them, since no million of
real ones is at hand: each is a real one, moved by half the difference of two others and brought to length 1, so that
they lie in clusters and spread as real ones do. The questions are made alike from embeddings that are held out.

Each side runs in a process of its own on one thread, one after the other: Luthier's embedded index (faiss within)
through its own interface, with texts and attributes; the bare peers usearch (HNSW, int8) and LanceDB (IVF and HNSW with
scalar quantisation); and exact comparison in numpy, which says what is right. Memory is what a process that opens the
index and searches it holds: `anonymous` is its own, `mapped` are pages of files, which the system may take back.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

SIDES = ("exact", "luthier", "usearch", "lancedb")
HELD_OUT = 500
MOVED = 0.5
BLOCK = 50_000
K = 10


def main() -> None:
    options = parse()
    if options.side:
        print(json.dumps(run_side(options)))
        return
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as made:
        work = options.work or Path(made)
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "truth.npy").exists():
            prepare(options, work)
        results = {side: run_apart(side, work) for side in options.sides}
        report(options, results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, nargs="*", help="embeddings of real texts; none where --work has its data")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument(
        "--sides", type=lambda text: text.split(","), default=["exact", "luthier"], help="of " + ",".join(SIDES)
    )
    parser.add_argument(
        "--work", type=Path, help="folder for data and indexes that are kept; by default a temporary one"
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.side and not options.frames and not (options.work and (options.work / "truth.npy").exists()):
        sys.exit("Name at least one frame of embeddings: luthier embed FILE --text COLUMN -o FRAME.parquet")
    return options


def prepare(options: argparse.Namespace, work: Path) -> None:
    """Make the vectors and questions, and find each question's true neighbours."""
    from luthier.toolkit.frame import read_frame

    real = np.unique(np.concatenate([read_frame(path).vectors for path in options.frames]), axis=0)
    real = real[np.random.default_rng(0).permutation(len(real))]
    vectors = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float32, (options.rows, real.shape[1]))
    for seed, start in enumerate(range(0, options.rows, BLOCK)):
        part = vectors[start : start + BLOCK]
        part[:] = moved(real[HELD_OUT:], len(part), seed + 2)
    questions = moved(real[:HELD_OUT], options.questions, 1)
    np.save(work / "questions.npy", questions)
    np.save(work / "truth.npy", np.stack([nearest(vectors, question) for question in questions]))


def moved(real: np.ndarray, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    one, two, three = (rng.integers(len(real), size=n) for _ in range(3))
    made = real[one] + MOVED * (real[two] - real[three])
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def nearest(vectors: np.ndarray, question: np.ndarray) -> np.ndarray:
    scores = np.concatenate([vectors[at : at + BLOCK] @ question for at in range(0, len(vectors), BLOCK)])
    top = np.argpartition(-scores, K)[:K]
    return top[np.argsort(-scores[top])]


def run_apart(side: str, work: Path) -> dict[str, Any]:
    """Build and search in processes of their own, so that the second holds only what searching needs."""
    command = [sys.executable, __file__, "--side", side, "--work", str(work)]
    one_thread = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LANCE_CPU_THREADS", "RAYON_NUM_THREADS"), "1"
    )
    results: dict[str, Any] = {}
    for _ in ("build", "search"):
        done = subprocess.run(command, env=os.environ | one_thread, stdout=subprocess.PIPE, text=True, check=True)
        results |= json.loads(done.stdout.splitlines()[-1])
    return results


def run_side(options: argparse.Namespace) -> dict[str, Any]:
    work: Path = options.work
    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    made, search = globals()[f"side_{options.side}"](work / options.side, vectors)
    if made() is not None:
        return {}
    del vectors
    before = memory()
    ask = search()
    questions, truth = np.load(work / "questions.npy"), np.load(work / "truth.npy")
    for question in questions[:30]:
        ask(question)
    times, found = [], 0
    for question, right in zip(questions, truth, strict=True):
        start = time.perf_counter()
        ids = ask(question)
        times.append(time.perf_counter() - start)
        found += len({int(one) for one in ids} & set(right.tolist()))
    now = memory()
    return {
        "build_s": round(float((work / options.side / "built").read_text()), 1),
        "recall": round(found / truth.size, 4),
        **{f"p{share}_ms": round(float(np.percentile(times, share)) * 1e3, 2) for share in (50, 95, 99)},
        **{f"{kind}_mb": round((now[kind] - before[kind]) / 1e6) for kind in now},
        "disk_mb": round(sum(file.stat().st_size for file in (work / options.side).rglob("*") if file.is_file()) / 1e6),
    }


def memory() -> dict[str, int]:
    """Bytes that this process holds."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    kinds = {"anonymous": "RssAnon", "mapped": "RssFile"}
    return {kind: int(lines[name].split()[0]) * 1024 for kind, name in kinds.items()}


Built = Callable[[], float | None]
Opened = Callable[[], Callable[[np.ndarray], Any]]


def once(folder: Path, build: Callable[[], None]) -> Built:
    """Builds where nothing is built yet, and notes how long it took; None where it was there."""

    def made() -> float | None:
        if (folder / "built").exists():
            return None
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        build()
        taken = time.perf_counter() - start
        (folder / "built").write_text(str(taken))
        return taken

    return made


def side_exact(folder: Path, _vectors: np.ndarray) -> tuple[Built, Opened]:
    def opened() -> Callable[[np.ndarray], Any]:
        matrix = np.array(np.load(folder.parent / "vectors.npy", mmap_mode="r"))
        return lambda question: nearest(matrix, question)

    return once(folder, lambda: None), opened


def side_luthier(folder: Path, vectors: np.ndarray) -> tuple[Built, Opened]:
    from luthier.storage.indexes import IndexSpec, Record, open_indexes

    def build() -> None:
        index = open_indexes(folder).create(IndexSpec("million", vectors.shape[1]))
        records = [Record(str(at), f"text {at}", {"number": at}) for at in range(len(vectors))]
        index.add(records, vectors)
        index.close()

    def opened() -> Callable[[np.ndarray], Any]:
        index = open_indexes(folder).open("million")
        return lambda question: [hit.record.id for hit in index.search(question, K)]

    return once(folder, build), opened


def side_usearch(folder: Path, vectors: np.ndarray) -> tuple[Built, Opened]:
    from usearch.index import Index

    def build() -> None:
        index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8", connectivity=16, expansion_add=64)
        for at in range(0, len(vectors), BLOCK):
            part = np.array(vectors[at : at + BLOCK])
            index.add(np.arange(at, at + len(part)), part, threads=1)
        index.save(folder / "index.usearch")

    def opened() -> Callable[[np.ndarray], Any]:
        index = Index.restore(folder / "index.usearch")
        index.expansion_search = 256
        return lambda question: index.search(question, K).keys

    return once(folder, build), opened


def side_lancedb(folder: Path, vectors: np.ndarray) -> tuple[Built, Opened]:
    import lancedb
    import pyarrow as pa

    def parts() -> Any:
        for at in range(0, len(vectors), BLOCK):
            part = np.array(vectors[at : at + BLOCK])
            lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
            yield pa.record_batch([pa.array(np.arange(at, at + len(part))), lists], names=["id", "vector"])

    def build() -> None:
        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), vectors.shape[1]))])
        table = lancedb.connect(folder).create_table("million", parts(), schema=schema)
        lists = max(1, len(vectors) // 200_000)
        config = lancedb.index.HnswSq(distance_type="dot", num_partitions=lists)
        table.create_index("vector", config=config)

    def opened() -> Callable[[np.ndarray], Any]:
        table = lancedb.connect(folder).open_table("million")

        def ask(question: np.ndarray) -> Any:
            asked = table.search(question, vector_column_name="vector").distance_type("dot").ef(100)
            return asked.select(["id", "_distance"]).limit(K).to_arrow()["id"].to_pylist()

        return ask

    return once(folder, build), opened


def report(options: argparse.Namespace, results: dict[str, dict[str, Any]]) -> None:
    print(f"{options.rows:,} vectors, {options.questions} questions, {K} neighbours each; {machine()}\n")
    names = ["build_s", "recall", "p50_ms", "p95_ms", "p99_ms", "anonymous_mb", "mapped_mb", "disk_mb"]
    print("".join(f"{name:>14}" for name in ["side", *names]))
    for side, result in results.items():
        print("".join(f"{value:>14}" for value in [side, *(result[name] for name in names)]))
    print(json.dumps({"rows": options.rows, "machine": machine(), "results": results}))


if __name__ == "__main__":
    main()
