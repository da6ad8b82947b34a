"""How things look in a terminal: JSON, tables, durations. Nothing here calls a server."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from luthier.cli.remote import Json

_PIPED_WIDTH = 200  # columns of a table when nobody's window limits it
FINAL = ("succeeded", "failed", "cancelled")
_COLOURS = {
    "succeeded": "green",
    "completed": "green",
    "failed": "red",
    "error": "red",
    "cancelled": "yellow",
    "expired": "yellow",
    "running": "cyan",
    "in_progress": "cyan",
}


def console(stderr: bool = False) -> Console:
    """A console that colours nothing by guess and does not squeeze tables where there is no window."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _PIPED_WIDTH)


def say(text: str = "", style: str | None = None, stderr: bool = False) -> None:
    """Print a line as it stands: never wrapped, so that commands in it can be copied; never read as markup."""
    console(stderr).print(text, style=style, markup=False, soft_wrap=True)


def show_json(answer: Any) -> None:
    """An answer of the API, as the old client printed it."""
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """A plain table.

    Args:
        columns: headings.
        rows: cells, one for each column.
        right: headings of the columns that hold numbers.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name == columns[0])
    for row in rows:
        made.add_row(*(_cell(cell) for cell in row))
    return made


def _cell(text: str) -> Text:
    return Text(text, style=_COLOURS.get(text, ""))


def moment(seconds: float) -> str:
    """Unix seconds as local time."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def file_table(files: Iterable[Json]) -> Table:
    rows = (
        (
            file["id"],
            file["filename"],
            decimal(file["bytes"]),
            file["purpose"],
            file["status"],
            moment(file["created_at"]),
        )
        for file in files
    )
    return table(("File", "Name", "Size", "Purpose", "Status", "Uploaded"), rows, right=("Size",))


def job_table(jobs: Iterable[Json]) -> Table:
    rows = (
        (
            job["id"],
            job["status"],
            job["model"],
            job.get("fine_tuned_model") or "",
            ", ".join(file["filename"] for file in job.get("training_files", [])),
            moment(job["created_at"]),
        )
        for job in jobs
    )
    return table(("Job", "Status", "Base", "Tuned model", "Examples", "Created"), rows)


def job_details(job: Json) -> Table:
    """Everything about one job that fits on a screen."""
    rows = [
        ("Job", job["id"]),
        ("Status", job["status"]),
        ("Base", job["model"]),
        ("Tuned model", job.get("fine_tuned_model") or "none yet"),
        ("Created", moment(job["created_at"])),
    ]
    for title, key in (("Training", "training_files"), ("Validation", "validation_files"), ("Results", "result_files")):
        rows += [(title, f"{file['filename']} ({file['id']})") for file in job.get(key) or []]
    rows += [(name, str(value)) for name, value in (job.get("hyperparams") or {}).items() if value is not None]
    rows += [(moment(event["created_at"]), event["message"]) for event in (job.get("events") or [])[-10:]]
    return details(rows)


def details(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values, one row each."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, _cell(value))
    return made


def token_table(logprobs: Json) -> Table:
    """Log probabilities of a completion's tokens, one row a token.

    Args:
        logprobs: the `logprobs` object of a choice: `tokens`, `token_logprobs`, `top_logprobs`.
    """
    rows = []
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True):
        others = "   ".join(f"{text!r} {number:.3f}" for text, number in (top or {}).items())
        rows.append((repr(token), "" if value is None else f"{value:.3f}", others))
    return table(("Token", "Log probability", "Most likely there"), rows, right=("Log probability",))


def last_metrics(results: str) -> dict[str, float]:
    """The newest value of each column of a results file.

    Args:
        results: the CSV's text.
    """
    newest: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(results)):
        newest |= {name: float(value) for name, value in row.items() if name and value}
    return newest
