"""Fakes that ship with Luthier, so that every floor can be tested offline in milliseconds."""

from luthier.testing.base import make_tiny_base
from luthier.testing.chat import PLAIN_CHAT, TOOL_CHAT
from luthier.testing.encoder import make_byte_vocabulary, make_tiny_encoder
from luthier.testing.tokenizer import ByteTokenizer

__all__ = ["PLAIN_CHAT", "TOOL_CHAT", "ByteTokenizer", "make_byte_vocabulary", "make_tiny_base", "make_tiny_encoder"]
