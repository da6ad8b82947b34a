"""Memory that the C library keeps for itself."""

import ctypes
import sys
from contextlib import suppress


def trim_heap() -> None:
    """Give back to the system what lies idle in the heap. Does nothing where the C library is not glibc.

    Rows of ever other lengths leave holes in a heap that never shrinks; over hours they would add up to gigabytes.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
