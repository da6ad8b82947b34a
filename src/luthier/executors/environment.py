"""The environment of a trainer: the server's settings, threads that wait well, and an allocator fit for tensors."""

import sys
from collections.abc import Mapping
from ctypes.util import find_library

from luthier.config import Settings

# Threads that wait for each other look for work so many times, some tens of microseconds, and sleep then. Did they
# sleep at once, each next operation would have to wake them; did they look for as long as is the default, a server on
# the same cores would starve.
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
# A step makes and drops tensors of ever other sizes by the thousand. These keep them by classes of sizes and give what
# lies idle back to the system; glibc looks through lists of what was freed, which grow with each step. Best first.
_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc_minimal", "tcmalloc")
_PRELOAD = "LD_PRELOAD"
# Where there is none, tensors of a mebibyte and more come from the system and go back to it at once, page by page:
# that costs time, but not ever more of it, and nothing lies idle.
_TUNABLES = {"glibc.malloc.mmap_threshold": str(1 << 20)}


def worker_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment of the trainer: the server's, and these very settings. What it says of the allocator stays."""
    kept = {name: value for name, value in environment.items() if not name.upper().startswith("LUTHIER_")}
    given = {name: value for name, value in settings.model_dump().items() if value is not None}
    ours = {f"LUTHIER_{name.upper()}": _written(value) for name, value in given.items()}
    if not kept.get(_PRELOAD) and (allocator := installed_allocator()):
        ours[_PRELOAD] = allocator
    theirs = dict(part.split("=", 1) for part in kept.get("GLIBC_TUNABLES", "").split(":") if "=" in part)
    ours["GLIBC_TUNABLES"] = ":".join(f"{name}={value}" for name, value in {**_TUNABLES, **theirs}.items())
    return {**_THREADS, **kept, **ours, "PYTHONUNBUFFERED": "1"}


def installed_allocator() -> str | None:
    """A library that takes the place of the C library's allocator, as the loader finds it; None where there is none."""
    if sys.platform != "linux":
        return None
    return next(filter(None, map(find_library, _ALLOCATORS)), None)


def _written(value: object) -> str:
    """A setting's value as its variable has it: lists with commas."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
