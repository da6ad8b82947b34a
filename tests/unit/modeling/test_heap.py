"""Idle memory goes back to the system, when there is enough of it."""

import subprocess
import sys

import pytest
import torch

from luthier.modeling.heap import _OWNERS, _resident_bytes, trim_heap

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Only glibc's heap is trimmed.")
_SMALL = 1 << 16  # bytes, below what the C library fetches from the system piece by piece


def test_holes_are_given_back_above_the_bound() -> None:
    kept = [torch.zeros(_SMALL, dtype=torch.uint8) for _ in range(2000)]
    del kept[::2]  # every other one: holes that the heap keeps
    before = _resident_bytes()
    trim_heap(above=before + (64 << 20))
    assert _resident_bytes() > before - (8 << 20)
    trim_heap()
    assert _resident_bytes() < before - (32 << 20)
    assert all(not piece.any() for piece in kept)


@pytest.mark.parametrize(("environment", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(
    environment: dict[str, str], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _OWNERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = """
from luthier.modeling.heap import _resident_bytes, keep_heap
did = keep_heap()
pieces = [bytearray(8 << 20) for _ in range(20)]
before = _resident_bytes()
del pieces
print(did, before - _resident_bytes() < 64 << 20)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(kept), str(kept)]
