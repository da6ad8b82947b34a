"""One page of a longer list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a list, in its order, and whether more follow.

    Args:
        items: the items of this page.
        has_more: there are items after the last of these.
    """

    items: tuple[T, ...]
    has_more: bool = False
