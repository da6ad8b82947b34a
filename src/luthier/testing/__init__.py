"""Fakes that ship with Luthier, so that every floor can be tested offline in milliseconds."""

from luthier.testing.base import make_tiny_base
from luthier.testing.tokenizer import ByteTokenizer

__all__ = ["ByteTokenizer", "make_tiny_base"]
