"""What texts have in common."""

from collections.abc import Sequence


def common_prefix(texts: Sequence[str]) -> str:
    """The longest text that all of `texts` start with."""
    first, last = min(texts, default=""), max(texts, default="")
    differs = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:differs]


def common_suffix(texts: Sequence[str]) -> str:
    """The longest text that all of `texts` end with."""
    return common_prefix([text[::-1] for text in texts])[::-1]
