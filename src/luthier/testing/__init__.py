"""Fakes that ship with Luthier, so that every floor can be tested offline in milliseconds."""

from luthier.testing.base import make_tiny_base
from luthier.testing.chat import PLAIN_CHAT, TOOL_CHAT
from luthier.testing.tokenizer import ByteTokenizer

__all__ = ["PLAIN_CHAT", "TOOL_CHAT", "ByteTokenizer", "make_tiny_base"]
