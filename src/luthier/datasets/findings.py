"""What an examination of data finds, as data: for the terminal, for `status_details` of an upload, for programs."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

_SHOWN_ROWS = 10


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"  # the data cannot be used as it stands, and nothing here can mend it


class Force(StrEnum):
    """How strongly a remedy is proposed."""

    NECESSARY = "necessary"  # done without asking
    RECOMMENDED = "recommended"  # asked, yes by default
    OPTIONAL = "optional"  # asked, no by default


@dataclass(frozen=True)
class Remedy:
    """A change of the data that answers a finding.

    Args:
        name: which function of `remedies.REMEDIES` does it.
        title: what it does, for a question or a report.
        arguments: keyword arguments of that function, JSON values only.
    """

    name: str
    title: str
    force: Force
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing found in a table of examples.

    Args:
        code: a stable name for programs.
        message: what was found and what it means, for people.
        rows: the rows it is about, as the table's index numbers them. `formats` numbers from 1 and leaves out the
            header and blank lines; a row keeps its number when others are removed.
        data: the figures behind the message, JSON values only.
    """

    code: str
    severity: Severity
    message: str
    rows: tuple[int, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    remedy: Remedy | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def name_rows(rows: Iterable[int]) -> str:
    """`row 3` or `rows 3, 7, 9 and 12 more`: for messages."""
    numbers = list(rows)
    shown = ", ".join(str(number) for number in numbers[:_SHOWN_ROWS])
    more = f" and {len(numbers) - _SHOWN_ROWS} more" if len(numbers) > _SHOWN_ROWS else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {shown}{more}"


def count(number: int, noun: str) -> str:
    """`1 row`, `1,197 rows`: for messages."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def visible(text: str, limit: int = 60) -> str:
    """`text` between back quotes, its line breaks written as `\\n`, its middle left out when long."""
    text = text.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-limit // 2 :]}"
    return f"`{text}`"
