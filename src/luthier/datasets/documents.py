"""Texts of uploaded documents, and their pieces."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePath

from luthier.errors import DataError
from luthier.types import Tokenizer

MAX_BYTES = 100_000_000
MAX_TOKENS = 5_000_000  # of one file, as OpenAI has it
TEXT_SUFFIXES = frozenset(
    [
        ".bash",
        ".bat",
        ".c",
        ".cc",
        ".cfg",
        ".cpp",
        ".cs",
        ".css",
        ".csv",
        ".cxx",
        ".go",
        ".h",
        ".hpp",
        ".htm",
        ".html",
        ".ini",
        ".java",
        ".js",
        ".json",
        ".jsonl",
        ".jsx",
        ".kt",
        ".log",
        ".lua",
        ".md",
        ".markdown",
        ".mjs",
        ".php",
        ".pl",
        ".ps1",
        ".py",
        ".r",
        ".rb",
        ".rs",
        ".rst",
        ".scala",
        ".sh",
        ".sql",
        ".svg",
        ".swift",
        ".tex",
        ".toml",
        ".ts",
        ".tsv",
        ".tsx",
        ".txt",
        ".xml",
        ".yaml",
        ".yml",
    ]
)
"""Endings of files that are texts."""
_HTML = frozenset({".htm", ".html"})
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "title",
        "tr",
        "ul",
    ]
)
_UNSEEN = frozenset(["head", "script", "style", "template"])
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


class UnsupportedDocumentError(DataError):
    """A file of a kind that holds no text that can be read here."""


def read_document(path: Path, filename: str) -> str:
    """The text of a file; of HTML what a reader sees.

    Args:
        filename: as it was uploaded; its ending says what the file is.

    Raises:
        UnsupportedDocumentError: files of that ending are not read here.
        DataError: too large, not in UTF-8 or UTF-16, or without any text.
    """
    ending = PurePath(filename).suffix.lower()
    if ending not in TEXT_SUFFIXES:
        raise UnsupportedDocumentError(
            f"'{filename}' cannot be read: files that end in '{ending}' are not, nor are PDF and Office's. Save it as "
            "text, Markdown or HTML."
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"'{filename}' has {size:,} bytes; {MAX_BYTES:,} are the most. Split it.")
    raw = path.read_bytes()
    mark = next((mark for mark in _MARKS if raw.startswith(mark)), b"")
    try:
        text = raw.decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"'{filename}' is no text in UTF-8 or UTF-16 (byte {error.start}). Save it in UTF-8.") from None
    if ending in _HTML:
        text = html_text(text)
    if not text.strip():
        raise DataError(f"'{filename}' has no text.")
    return text


def html_text(source: str) -> str:
    """What a reader sees of a page: its texts, blocks on lines of their own; the title of its head too."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._open: list[str] = []  # elements whose text is not seen, and what is seen within them

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 (the parser calls it so)
        if self._open[-1:] == ["head"] and (tag == "body" or tag in _BLOCKS):
            self._open.pop()  # its end may be left out
        if tag in _UNSEEN or (tag == "title" and self._open):
            self._open.append(tag)
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] == "title":
            self.parts.append(data.replace("\n", " "))


def pieces(text: str, vocabulary: Tokenizer, max_tokens: int, overlap_tokens: int) -> Iterator[str]:
    """Cut a text into pieces of `max_tokens`, each sharing `overlap_tokens` with the one before it.

    A cut never parts a character. Pieces without anything but white space are left out.

    Raises:
        DataError: the text has more than `MAX_TOKENS`.
    """
    ids = vocabulary.encode(text)
    if len(ids) > MAX_TOKENS:
        raise DataError(f"The file has {len(ids):,} tokens; {MAX_TOKENS:,} are the most. Split it.")
    raw = text.encode()
    places = [0]
    for token in ids:
        places.append(places[-1] + len(vocabulary.token_bytes(token)))
    for start in range(0, len(ids), max_tokens - overlap_tokens):
        end = min(start + max_tokens, len(ids))
        piece = raw[_whole(raw, places[start]) : _whole(raw, places[end])].decode()
        if piece.strip():
            yield piece
        if end == len(ids):
            return


def _whole(raw: bytes, at: int) -> int:
    """The beginning of the character that `at` lies in."""
    while at < len(raw) and raw[at] & 0xC0 == 0x80:
        at -= 1
    return at
