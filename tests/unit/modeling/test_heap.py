"""Idle memory goes back to the system, when there is enough of it."""

import sys

import pytest
import torch

from luthier.modeling.heap import _resident_bytes, trim_heap

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
