"""Memory that the C library keeps for itself."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT = 256 << 20  # bytes
_MAPPED = 32 << 20  # bytes, the most that every glibc takes
_OWNERS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")


def keep_heap() -> bool:
    """Let the heap keep up to 256 MiB that were freed at its end, and take tensors of up to 32 MiB from it.

    Otherwise the tensors of a pass may go back to the system after it, and come with the next one as pages to be
    zeroed. The heaps of other threads than the main one follow in part.

    Returns:
        Whether it did: not where the C library is no glibc, or the environment has settings of its own for it.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in _OWNERS):
        with suppress(AttributeError):  # another C library
            library = ctypes.CDLL(None)
            # One without the other would be worse than neither: the second stops glibc from adapting the first.
            return bool(library.mallopt(_MMAP_THRESHOLD, _MAPPED) and library.mallopt(_TRIM_THRESHOLD, _KEPT))
    return False


def trim_heap(above: int = 0) -> None:
    """Give back to the system what lies idle in glibc's heap. Does nothing where a process has another allocator.

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
