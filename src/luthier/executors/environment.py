"""The environment of a trainer: the server's settings, threads that wait well, and an allocator fit for tensors."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from ctypes.util import find_library
from functools import cache

from luthier.config import Settings

# Threads that wait for each other look for work so many times, some tens of microseconds, and sleep then. Did they
# sleep at once, each next operation would have to wake them; did they look for as long as is the default, a server on
# the same cores would starve.
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
# A step makes and drops tensors of ever other sizes by the thousand. These keep them by classes of sizes and give what
# lies idle back to the system by themselves; a heap of glibc that keeps all looks through lists of what was freed,
# which grow with each step. In this order they are looked for.
_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc_minimal", "tcmalloc")
_PRELOAD = "LD_PRELOAD"
# Where there is none, tensors of a mebibyte and more come from the system and go back to it at once, page by page. Told
# of one threshold, glibc no longer adapts the other by itself.
_TUNABLES = {"glibc.malloc.mmap_threshold": str(1 << 20), "glibc.malloc.trim_threshold": str(256 << 20)}
_PROBE_SECONDS = 20


def worker_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment of the trainer: the server's, and these very settings.

    What the server's says of allocator and threads stays; an empty `LD_PRELOAD` keeps the C library's allocator.
    """
    kept = {name: value for name, value in environment.items() if not name.upper().startswith("LUTHIER_")}
    given = {name: value for name, value in settings.model_dump().items() if value is not None}
    ours = {f"LUTHIER_{name.upper()}": _written(value) for name, value in given.items()}
    if _PRELOAD not in kept and (allocator := installed_allocator()):
        ours[_PRELOAD] = allocator
    theirs = dict(part.split("=", 1) for part in kept.get("GLIBC_TUNABLES", "").split(":") if "=" in part)
    ours["GLIBC_TUNABLES"] = ":".join(f"{name}={value}" for name, value in {**_TUNABLES, **theirs}.items())
    return {**_THREADS, **kept, **ours, "PYTHONUNBUFFERED": "1"}


@cache
def installed_allocator() -> str | None:
    """A library that takes the place of the C library's allocator, as the loader finds it; None where there is none."""
    if sys.platform == "linux":
        for name in _ALLOCATORS:
            with suppress(OSError):  # the search itself may need a compiler's help, or a folder for temporary files
                library = find_library(name)
                if library and _loads(library):
                    return library
    return None


def _loads(library: str) -> bool:
    """Whether Python starts with it: what was found may be of another architecture, or where no loader looks."""
    try:
        tried = subprocess.run(
            [sys.executable, "-c", ""],
            env={**os.environ, _PRELOAD: library},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return tried.returncode == 0 and not tried.stderr


def _written(value: object) -> str:
    """A setting's value as its variable has it: lists with commas."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
