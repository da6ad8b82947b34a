"""Texts cut into sentences, for what is said of a text by its parts."""

import re
from collections.abc import Sequence

_FULL = "\u3002\uff01\uff1f"  # the ends of sentences in Chinese and Japanese, after which no space stands
_ENDS = re.compile(rf"(?<=[.!?;])\s+|(?<=[{_FULL}])|\n|<br\s{{0,9}}/?>")  # pieces are stripped: no run is tried twice
_LEAST = 12  # characters; a shorter piece, such as "Yes.", goes with its neighbour


def sentences(text: str) -> list[str]:
    """The sentences of a text, at least one; ends are `.`, `!`, `?`, `;`, line ends and `<br />`."""
    made: list[list[str]] = []  # of pieces
    length = 0  # of the last sentence
    for piece in (piece.strip() for piece in _ENDS.split(text)):
        if made and piece and (len(piece) < _LEAST or length < _LEAST):
            made[-1].append(piece)
            length += len(piece) + 1
        elif piece:
            made.append([piece])
            length = len(piece)
    return [" ".join(pieces) for pieces in made] or [text]


def cut(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """All sentences of all texts, and for each the number of its text."""
    pieces = [(piece, owner) for owner, text in enumerate(texts) for piece in sentences(text)]
    return [piece for piece, _ in pieces], [owner for _, owner in pieces]
