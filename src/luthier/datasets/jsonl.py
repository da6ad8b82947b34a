"""Lines of a training file: read one at a time, understood, written."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.datasets.findings import visible
from luthier.errors import DataError

UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_CHUNK_BYTES = 1 << 16
FIELDS = ("prompt", "completion")


@dataclass(frozen=True)
class Example:
    """A prompt, the completion it shall have, and the names of other keys of its line."""

    prompt: str
    completion: str
    extra_keys: tuple[str, ...] = ()


def read_lines(path: Path, max_line_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Number (from 1) and bytes of each line that is not blank; None in place of a line over the limit.

    Memory stays below a few times `max_line_bytes`, whatever the file. A byte order mark is left out.
    """
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(max_line_bytes + 1):
            number += 1
            if len(raw) > max_line_bytes and not raw.endswith(b"\n"):
                while (rest := file.readline(_CHUNK_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
                continue
            if number == 1:
                raw = raw.removeprefix(UTF8_BOM)
            if raw.strip():
                yield number, raw


def completion_example(value: Mapping[str, Any]) -> Example:
    """
    Args:
        value: the object of one line.

    Raises:
        DataError: what is wrong with it and what to do, without file or line number.
    """
    for key in FIELDS:
        if key not in value:
            near = next((name for name in value if name.strip().lower() == key), None)
            hint = f" (there is {visible(near)}: rename it)" if near else ""
            raise DataError(f"the key `{key}` is missing{hint}.")
        if not isinstance(value[key], str):
            raise DataError(f"`{key}` is {json_kind(value[key])}; it must be a string.")
        check_characters(value[key], key)
    if not value["completion"].strip():
        raise DataError("`completion` is empty. Write what the model shall answer, or remove the line.")
    extra = tuple(name for name in value if name not in FIELDS)
    return Example(value["prompt"], value["completion"], extra)


def parse_object(raw: bytes, form: str = '{"prompt": …, "completion": …}') -> dict[str, Any]:
    """The JSON object on a line.

    Args:
        form: what a line should look like, for the message.

    Raises:
        DataError: it is not UTF-8, not JSON or not an object, without file or line number.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if raw.startswith(_UTF16_BOMS):
            raise DataError("the file is UTF-16. Save it as UTF-8.") from None
        raise DataError(
            f"byte {error.start + 1} (0x{raw[error.start]:02X}) is not UTF-8. Save the file as UTF-8."
        ) from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"it is not JSON: {error.msg} at character {error.pos + 1}.") from None
    except (ValueError, RecursionError):
        raise DataError("it is JSON that is nested too deeply or has a number with too many digits.") from None
    if not isinstance(value, dict):
        raise DataError(f"it is {json_kind(value)}; each line must be an object {form}.")
    return value


def check_characters(text: str, key: str) -> None:
    """Refuse half surrogate pairs (`\\ud83d` alone): they are no text and cannot be written as UTF-8.

    Raises:
        DataError: there is one.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(f"`{key}` holds half a character, {half}, at position {error.start + 1}. Remove it.") from None


def json_kind(value: Any) -> str:
    """What a JSON value is, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write objects to a new file, one a line.

    Raises:
        FileExistsError: `path` is there already; nothing is overwritten.
    """
    file = path.open("x", encoding="utf-8", newline="\n")
    try:
        with file:
            for value in values:
                file.write(json.dumps(value, ensure_ascii=False) + "\n")
    except OSError:  # a full disk: half a file must not look like a whole one
        path.unlink()
        raise
