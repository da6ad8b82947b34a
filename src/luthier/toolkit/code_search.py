"""Code search: the functions and classes of a repository that answer a question in plain words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from luthier.errors import DataError
from luthier.toolkit.code_definitions import Definition
from luthier.toolkit.code_index import CodeIndex, embedded_text
from luthier.toolkit.code_languages import language_names
from luthier.toolkit.search import best, bm25, check_vector, cosines, fuse
from luthier.types import Embed

_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
_NAMES = re.compile(r"[^\W\d]\w*")
_FUSED_DEPTH = 100  # ranks by meaning and by words that count, at least
_COMMON = 0.1  # of all texts: a word that more of them have says little
_FEW = 1000  # texts that are always looked at
_PAIRED = re.compile(r"code-search-(ada|babbage)-code-001|(ada|babbage)-code-search-code")


@dataclass(frozen=True)
class CodeHit:
    """A definition that was found.

    Args:
        rank: from 1.
        score: what orders the hits: the cosine, or where words count too the sum of 1 / (60 + rank).
        similarity: cosine of its embedding and the question's, -1 to 1.
        definition: itself.
    """

    rank: int
    score: float
    similarity: float
    definition: Definition

    def snippet(self, n_lines: int = 7) -> str:
        """Its first lines, with a last line that says how many follow."""
        lines = self.definition.text.splitlines()
        more = len(lines) - n_lines
        return "\n".join([*lines[:n_lines], f"… {more} more line{'s' if more > 1 else ''}"] if more > 0 else lines)


@dataclass(frozen=True)
class CodeSearch:
    """
    Args:
        query: what was asked.
        words: whether words count beside meaning.
        searched: definitions that were compared with it.
        hits: the best first.
    """

    query: str
    words: bool
    searched: int
    hits: tuple[CodeHit, ...]

    def as_dict(self, n_lines: int = 7) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "query": self.query,
            "words": self.words,
            "searched": self.searched,
            "hits": [
                {
                    "rank": hit.rank,
                    "score": hit.score,
                    "similarity": hit.similarity,
                    "path": hit.definition.path,
                    "line": hit.definition.line,
                    "end_line": hit.definition.end_line,
                    "language": hit.definition.language,
                    "kind": hit.definition.kind,
                    "name": hit.definition.name,
                    "doc": hit.definition.doc,
                    "snippet": hit.snippet(n_lines),
                }
                for hit in self.hits
            ],
        }


def search_code(
    index: CodeIndex,
    query: str,
    embed: Embed,
    *,
    k: int = 5,
    words: bool = True,
    languages: Sequence[str] = (),
    paths: Sequence[str] = (),
    kinds: Sequence[str] = (),
) -> CodeSearch:
    """The definitions nearest to a question.

    Args:
        embed: of the index's model; `query_model` names it.
        k: most hits.
        words: let words count beside meaning. Names are taken apart for this: `getUserName` is `get user name` too.
        languages: only these; all without any.
        paths: only files that match one of these patterns, as in .gitignore: src/, *.go, src/**/test_*.py.
        kinds: only these: function, method, class, …

    Raises:
        InvalidRequestError: a language that is not known.
        DataError: no question, `k` below 1, nothing in the index that the filters leave, or another model's vector.
    """
    if not query.strip():
        raise DataError("The question is empty. Say what the code that you look for does.")
    if k < 1:
        raise DataError(f"k is {k}. Ask for at least 1 hit.")
    kept = _filtered(index, language_names(languages), paths, kinds)
    vector = embed([query])[0]
    check_vector(vector, index.vectors.shape[1], index.model)
    similarities = cosines(index.vectors[kept], vector)
    depth = max(k, _FUSED_DEPTH)
    near = {int(at): rank for rank, at in enumerate(best(similarities, depth), start=1)}
    if words:
        scores = fuse(near, _word_ranks([embedded_text(index.definitions[at]) for at in kept], query, depth))
    else:
        scores = {at: float(similarities[at]) for at in near}
    order = sorted(scores, key=lambda at: (-scores[at], -similarities[at], at))[:k]
    hits = tuple(
        CodeHit(rank, scores[at], float(similarities[at]), index.definitions[kept[at]])
        for rank, at in enumerate(order, start=1)
    )
    return CodeSearch(query, words, len(kept), hits)


def query_model(model: str) -> str:
    """The model that embeds questions to an index that `model` made: the first generation had one for each side.

    code-search-babbage-code-001 → code-search-babbage-text-001
    """
    return re.sub(r"-code(?=-001$|$)", "-text", model) if _PAIRED.fullmatch(model) else model


def split_names(text: str) -> str:
    """A text with the parts of each name in it after the name: `getUserName` → `getUserName get User Name`."""
    return _NAMES.sub(lambda match: _with_parts(match.group()), text)


@lru_cache(maxsize=100_000)
def _with_parts(name: str) -> str:
    parts = _PARTS.findall(name)
    return " ".join([name, *parts]) if len(parts) > 1 else name


def _word_ranks(texts: list[str], query: str, depth: int) -> dict[int, int]:
    """Ranks by BM25, from 1, of the texts that a word of the question is in.

    Only those are cut into words, and for words that most texts have none is looked at: a large repository is searched
    in the time that this takes.
    """
    from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]

    lowered = [text.lower() for text in texts]
    asked = {word for word in re.findall(r"\w+", split_names(query).lower()) if word not in STOPWORDS_EN}
    holding = {word: [at for at, text in enumerate(lowered) if word in text] for word in asked}
    rare = {word: places for word, places in holding.items() if len(places) <= max(_FEW, _COMMON * len(texts))}
    candidates = sorted(set().union(*(rare or holding).values()))
    if not candidates:
        return {}
    scores = bm25([split_names(texts[at]) for at in candidates], split_names(query))
    return {candidates[at]: rank for rank, at in enumerate(best(scores, depth), start=1) if scores[at] > 0}


def _filtered(index: CodeIndex, languages: Sequence[str], paths: Sequence[str], kinds: Sequence[str]) -> list[int]:
    """Places of the definitions that all filters leave."""
    from pathspec import GitIgnoreSpec

    try:
        spec = GitIgnoreSpec.from_lines(paths)
    except ValueError as error:
        raise DataError(f"--path: {error}. A pattern looks like one of .gitignore: src/, *.go.") from None
    files = {path for path in index.files if not paths or spec.match_file(path)}
    kept = [
        at
        for at, definition in enumerate(index.definitions)
        if definition.path in files
        and (not languages or definition.language in languages)
        and (not kinds or definition.kind in kinds)
    ]
    if kept:
        return kept
    for option, wanted, there in (
        ("--lang", languages, {definition.language for definition in index.definitions}),
        ("--kind", kinds, {definition.kind for definition in index.definitions}),
    ):
        if wanted and not there & set(wanted):
            raise DataError(f"{option} {', '.join(wanted)}: the index has {', '.join(sorted(there))} only.")
    what = f"--path {' '.join(paths)}" if paths and not files else "All filters together"
    raise DataError(f"{what}: nothing of the {len(index.definitions):,} definitions in the index matches.")
