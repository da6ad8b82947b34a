"""What texts have in common."""

import re
from collections.abc import Sequence

_BEGUN = re.compile(r"(\w|\d[.,])+$")  # a word or a number that may go on


def common_prefix(texts: Sequence[str]) -> str:
    """The longest text that all of `texts` start with, without a word or a number that goes on in one of them."""
    first, last = min(texts, default=""), max(texts, default="")
    differs = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    if any(re.match(r"\w", text[differs:]) for text in texts):
        return _BEGUN.sub("", first[:differs])
    return first[:differs]


def common_suffix(texts: Sequence[str]) -> str:
    """The longest text that all of `texts` end with, likewise."""
    return common_prefix([text[::-1] for text in texts])[::-1]
