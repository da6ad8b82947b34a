"""The processor's cores, shared out among passes that are computed side by side.

Threads that share a pass wait for each other at each of its operations; passes side by side, a thread for each, do not.
PyTorch's own setting (`set_num_threads`) holds for threads that start later too, and for all of MKL; OpenMP's holds
for the thread that sets it, and PyTorch computes with as many.
"""

from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@cache
def _openmp() -> list[Any]:
    """The OpenMP libraries that this process has loaded; none where PyTorch has threads of another kind."""
    libraries: list[Any] = ThreadpoolController().select(user_api="openmp").lib_controllers
    return libraries


def available() -> int:
    """Cores to share out among passes; 1 where a GPU computes or threads cannot be shared out."""
    return 1 if torch.cuda.is_available() or not _openmp() else torch.get_num_threads()


def take(cores: int) -> None:
    """Have the calling thread, and no other, compute with so many cores from now on."""
    torch.get_num_threads()  # a thread's first call of PyTorch would set the number anew
    for library in _openmp():
        library.set_num_threads(cores)
