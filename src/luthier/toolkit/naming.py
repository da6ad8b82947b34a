"""Names for clusters: from the words that tell them apart, and from a completion model."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.types import Complete

_TAGS = re.compile(r"<[^>]{1,40}>")  # of HTML, as in reviews of shops
_COMMON = 0.7  # share of all rows from which a word tells nothing, where there are enough rows to say so
_ENOUGH = 20
_LIFT = 1.5  # times that a term must be more frequent in its cluster than in the others
_PROMPT = (
    'What do the following {kind} have in common?\n\n{heading}:\n"""\n{texts}\n"""\n\nTheme:'  # as the cookbook asks
)
_CHARACTERS = 400  # of each text in the prompt


def distinctive_terms(texts: Sequence[str], labels: NDArray[np.int64], n: int = 5) -> dict[int, tuple[str, ...]]:
    """The words and pairs of words that are frequent in a cluster and rare in the others.

    Class-based TF-IDF (Grootendorst 2022): for term t in cluster c, tf(t, c) · log(1 + A / f(t)), where tf is the share
    of t among the terms of c, f(t) its number over all clusters and A the mean number of terms of a cluster. Only terms
    that are clearly more frequent in c than elsewhere are named: "great" is frequent everywhere.

    Args:
        texts: (N,).
        labels: (N,) number of each text's cluster; texts of -1 are left out.
        n: terms of each cluster; a word that is part of a pair already named is not named again.

    Returns:
        By label; nothing but stop words gives no terms.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # type: ignore[import-untyped]

    numbers = [int(label) for label in np.unique(labels[labels >= 0])]
    plain = [_TAGS.sub(" ", text) for text in texts]
    counter = CountVectorizer(
        stop_words="english",
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b[^\W\d_]{2,}\b",
        max_df=_COMMON if len(texts) >= _ENOUGH else 1.0,
    )
    try:
        counts = counter.fit_transform(plain)
    except ValueError:  # no words at all
        return dict.fromkeys(numbers, ())
    words = counter.get_feature_names_out()
    totals = np.vstack([np.asarray(counts[labels == label].sum(axis=0)).ravel() for label in numbers])  # (C, T)
    shares = totals / np.maximum(totals.sum(axis=1, keepdims=True), 1)
    weights = shares * np.log1p(totals.sum() / len(numbers) / np.maximum(totals.sum(axis=0), 1))
    if len(numbers) > 1:
        others = totals.sum(axis=0) - totals
        weights[shares < _LIFT * others / np.maximum(others.sum(axis=1, keepdims=True), 1)] = 0
    least = 2 if len(texts) >= _ENOUGH else 1  # rows of a cluster that use it: one row's own words are no theme
    spread = np.vstack([np.asarray((counts[labels == label] > 0).sum(axis=0)).ravel() for label in numbers])
    weights[spread < least] = 0
    return {label: _pick(words, weights[at], n) for at, label in enumerate(numbers)}


def naming_prompt(texts: Sequence[str], kind: str = "customer reviews") -> str:
    """The cookbook's question for the theme of texts.

    Args:
        texts: of one cluster; each is cut after 400 characters.
        kind: what the texts are.
    """
    lines = "\n".join(" ".join(_TAGS.sub(" ", text).split())[:_CHARACTERS] for text in texts)
    return _PROMPT.format(kind=kind, heading=kind[:1].upper() + kind[1:], texts=lines)


def ask_name(texts: Sequence[str], complete: Complete, kind: str = "customer reviews") -> str:
    """The theme of texts, as a completion model puts it: its answer's first line; empty if it says nothing.

    A small model does not stop there, but asks itself questions.

    Args:
        complete: gives a prompt's completion.
    """
    first = complete(naming_prompt(texts, kind)).lstrip().partition("\n")[0]
    return " ".join(first.split())


def _pick(words: NDArray[np.object_], weights: NDArray[np.float64], n: int) -> tuple[str, ...]:
    chosen: list[str] = []
    for at in np.argsort(-weights, kind="stable"):
        if len(chosen) == n or weights[at] <= 0:
            break
        term = str(words[at])
        parts = set(term.split())
        if not any(parts & set(other.split()) for other in chosen):
            chosen.append(term)
    return tuple(chosen)
