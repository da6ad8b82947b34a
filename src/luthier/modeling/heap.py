"""Memory that the C library keeps for itself."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT = 256 << 20  # bytes
_MAPPED = 64 << 20  # bytes


def keep_heap() -> None:
    """Let each heap keep up to 256 MiB of what is freed. Does nothing where the C library is not glibc.

    Otherwise the tensors of a pass go back to the system after it, and come with the next one as pages to be zeroed.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, _MAPPED)
            library.mallopt(_TRIM_THRESHOLD, _KEPT)


def trim_heap(above: int = 0) -> None:
    """Give back to the system what lies idle in the heap. Does nothing where the C library is not glibc.

    Rows of ever other lengths leave holes in a heap that never shrinks; over hours they would add up to gigabytes.

    Args:
        above: do it only when the process holds more than so many bytes; memory that is given back must be fetched
            again, which takes time.
    """
    if sys.platform == "linux" and _resident_bytes() > above:
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """What the process holds of the machine's memory, as proc(5) counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
