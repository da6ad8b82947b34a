"""The formats of training files, and which of them a line is in. A file holds one format."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from luthier.datasets.conversations import (
    CHAT_KEYS,
    PREFERENCE_KEYS,
    ChatExample,
    PreferenceExample,
    chat_example,
    preference_example,
)
from luthier.datasets.jsonl import FIELDS, Example, completion_example, parse_object, read_lines
from luthier.errors import DataError

AnyExample = Example | ChatExample | PreferenceExample


class Format(StrEnum):
    """What a line holds; its value is how messages call that."""

    COMPLETION = "a prompt with its completion"
    CHAT = "a chat example"
    PREFERENCE = "a preference example"

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the objects that are such examples."""
        return _KEYS[self]


_KEYS = {
    Format.COMPLETION: FIELDS,
    Format.CHAT: CHAT_KEYS,
    Format.PREFERENCE: PREFERENCE_KEYS,
}


def format_of(keys: Iterable[str]) -> Format | None:
    """The format of an object with these keys, whether it is whole or not; None when none of them tells."""
    names = set(keys)
    if names & {"prompt", "completion"}:
        return Format.COMPLETION
    if names & {"preferred_output", "non_preferred_output"}:
        return Format.PREFERENCE
    return Format.CHAT if "messages" in names else None


_PARSERS: dict[Format, Callable[[Mapping[str, Any]], AnyExample]] = {
    Format.COMPLETION: completion_example,
    Format.CHAT: chat_example,
    Format.PREFERENCE: preference_example,
}


class LineParser:
    """Parses the lines of one file, all of which must be in the format of the first one."""

    def __init__(self) -> None:
        self.format: Format | None = None
        self._first = 0

    def __call__(self, number: int, raw: bytes) -> AnyExample:
        """
        Raises:
            DataError: what is wrong with the line, without file or line number.
        """
        value = parse_object(raw)
        kind = format_of(value)
        if self.format is None:
            self.format, self._first = kind, number
        elif kind not in (None, self.format):
            raise DataError(
                f"it is {kind}, but the file's first, line {self._first}, is {self.format}. "
                "Give each format a file of its own."
            )
        return _PARSERS[self.format or Format.COMPLETION](value)


def iterate_examples(path: Path, max_line_bytes: int) -> Iterator[tuple[int, AnyExample]]:
    """Number and example of each line of a training file, read one at a time.

    Raises:
        DataError: a line that cannot be used; file and line are named.
    """
    parse = LineParser()
    for number, raw in read_lines(path, max_line_bytes):
        try:
            if raw is None:
                raise DataError(f"it is longer than {max_line_bytes:,} bytes.")
            yield number, parse(number, raw)
        except DataError as error:
            raise DataError(f"{path.name}, line {number}: {error.message}") from None
