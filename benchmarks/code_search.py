"""Code search beside the guide's: how often the function that a sentence describes is among the first found.

The sentences are the first of the docstrings of a Python repository, and the docstrings are taken out of what is
searched. Four ways: the guide's extract (top-level functions, their code embedded); Luthier's definitions by their code
alone; with path and name, as `luthier code index` embeds them; and with words beside meaning, as `luthier code search`
asks by default.

    python benchmarks/code_search.py [--repo src] [--model text-embedding-3-small] [--questions 300]
"""

import argparse
import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import machine

from luthier.cli.frames import embedder
from luthier.toolkit.code_definitions import Definition, extract, top_level_functions
from luthier.toolkit.code_files import Skipped, list_files, read_source
from luthier.toolkit.code_index import CodeIndex, embedded_text
from luthier.toolkit.code_search import search_code
from luthier.types import Embed

DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.DOTALL)
LEAST_WORDS = 5
DEPTH = 10


def without_doc(definition: Definition) -> Definition:
    return (
        replace(definition, doc="", text=DOCSTRING.sub("", definition.text, count=1)) if definition.doc else definition
    )


def read(root: Path) -> tuple[list[Definition], list[Definition], list[tuple[str, str, int]]]:
    """The guide's functions, ours, and questions as (sentence, path, line)."""
    guide, ours, questions = [], [], []
    for path in list_files(root):
        file = read_source(root, path)
        if isinstance(file, Skipped) or file.language.name != "python":
            continue
        found = extract(path, file.source, file.language)
        ours += [without_doc(one) for one in found]
        docs = {one.line: one.doc for one in found}
        plain = top_level_functions(path, file.source.decode())
        guide += [without_doc(replace(one, doc=docs.get(one.line, ""))) for one in plain]
        for one in found:
            sentence = re.split(r"(?<=\.)\s", one.doc.replace("\n", " "))[0]
            if one.kind in ("function", "method") and len(sentence.split()) >= LEAST_WORDS:
                questions.append((sentence, path, one.line))
    return guide, ours, questions


def ranks(
    index: CodeIndex, questions: Sequence[tuple[str, str, int]], asked: dict[str, np.ndarray], words: bool
) -> list[int]:
    """Of what was described, from 1; 0 where it is not among the first."""
    places = []
    for sentence, path, line in questions:
        found = search_code(index, sentence, lambda texts: asked[texts[0]][None], k=DEPTH, words=words)
        hits = [(hit.definition.path, hit.definition.line) for hit in found.hits]
        places.append(hits.index((path, line)) + 1 if (path, line) in hits else 0)
    return places


def measure(root: Path, embed: Embed, count: int) -> dict[str, dict[str, float]]:
    guide, ours, questions = read(root)
    random.Random(0).shuffle(questions)
    questions = questions[:count]
    vectors = embed([sentence for sentence, *_ in questions])
    asked = {sentence: vector for (sentence, *_), vector in zip(questions, vectors, strict=True)}
    embedded = embed([embedded_text(one) for one in ours])
    ways = {
        "the guide's extract": (guide, embed([one.text for one in guide]), False),
        "definitions, code alone": (ours, embed([one.text for one in ours]), False),
        "with path and name": (ours, embedded, False),
        "and with words": (ours, embedded, True),
    }
    table = {}
    print(f"{len(questions)} questions\n")
    print("| way | searched | first | of the first 5 | mean reciprocal rank |\n|---|---|---|---|---|")
    for name, (definitions, vectors, words) in ways.items():
        index = CodeIndex(root, "", (), {one.path: None for one in definitions}, tuple(definitions), vectors)
        at = np.array(ranks(index, questions, asked, words))
        row = {
            "searched": len(definitions),
            "recall_at_1": float(np.mean(at == 1)),
            "recall_at_5": float(np.mean((at > 0) & (at <= 5))),
            "mrr": float(np.mean(np.where(at > 0, 1 / np.maximum(at, 1), 0))),
        }
        table[name] = row
        print(
            f"| {name} | {row['searched']} | {row['recall_at_1']:.3f} | {row['recall_at_5']:.3f} | {row['mrr']:.3f} |"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=Path(__file__).parents[1] / "src")
    parser.add_argument("--model", default="text-embedding-3-small")
    parser.add_argument("--questions", type=int, default=300)
    args = parser.parse_args()
    print(machine())
    with embedder(args.model) as embed:
        table = measure(args.repo, embed, args.questions)
    print(json.dumps({"benchmark": "code_search", "model": args.model, "ways": table}))


if __name__ == "__main__":
    main()
