"""docs/compatibility.md, made from the `contract` markers of these tests.

python tests/contract/compatibility.py docs/compatibility.md

A marker says what a test has shown: `@pytest.mark.contract("POST /v1/embeddings", "dimensions", "honoured")`.
The field is "" for the endpoint as a whole, a tuple for several at once, `a.b` for a field within a field, `a[].b` for
one within an array, and "header NAME" for a header. The verdict is "honoured", "refused" or "different"; the last two
say how, in one sentence. `"*"` with how="As `POST /v1/embeddings`." stands for every field of the body of a path that
takes another one's body.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

VERDICTS = ("honoured", "different", "refused")
WHOLE = ""
ALIKE = "*"
HEADER = "header "
UNTESTED = "untested"
_BEYOND = "Beyond this server"
_HEAD = """# Compatibility

Made by `make docs` from the tests of `tests/contract/`, which drive `openai==0.27.2`, today's `openai` and plain HTTP
against a running server; do not edit.

What each path and each field of a request does here: **honoured** means as in OpenAI's API; **different**, that it does
something, and what; **refused**, that a request with it gets an error that names it. Nothing is accepted and ignored: a
field that stands nowhere on this page is refused by name too. `a.b` is a field within a field, `a[].b` one within an
array.
"""


@dataclass(frozen=True, order=True)
class Claim:
    """What one test says of one field.

    Args:
        endpoint: method and path, as the API's description has them.
        field: its name; WHOLE for the endpoint, ALIKE for the whole body.
    """

    endpoint: str
    field: str
    verdict: str
    how: str
    test: str


@dataclass(frozen=True)
class Endpoint:
    """What the API's description says of one endpoint."""

    area: str
    summary: str = ""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    verdict: str
    how: str = ""


@dataclass
class Table:
    """The rows of each endpoint, and what is wrong with the claims they were made from."""

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)


def described(document: dict[str, Any]) -> dict[str, Endpoint]:
    """The endpoints of an OpenAPI document, with the names of all that a request may hold but its path."""
    schemas = document.get("components", {}).get("schemas", {})
    found = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                names += _fields(content.get("schema", {}), schemas, ())
            area = operation.get("tags", ["Other"])[0]
            summary = operation.get("description", "").partition("\n")[0]
            found[f"{method.upper()} {path}"] = Endpoint(area, summary, tuple(dict.fromkeys(names)))
    return found


def _fields(schema: dict[str, Any], schemas: dict[str, Any], above: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """The names in a schema, those within others after them.

    Args:
        above: the references that lead here; none is entered twice, so that a schema may hold itself.
    """
    if reference := schema.get("$ref"):
        if reference not in above:
            yield from _fields(schemas[reference.rsplit("/", 1)[1]], schemas, (*above, reference), prefix)
        return
    for kind in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(kind, ()):
            yield from _fields(branch, schemas, above, prefix)
    if "items" in schema:
        yield from _fields(schema["items"], schemas, above, f"{prefix}[]")
    for name, inner in schema.get("properties", {}).items():
        place = f"{prefix}.{name}" if prefix else name
        yield place
        yield from _fields(inner, schemas, above, place)


def claims_of(item: pytest.Item) -> Iterator[Claim]:
    """The claims of one test.

    Raises:
        pytest.UsageError: a marker that cannot be understood.
    """
    for marker in item.iter_markers("contract"):
        try:
            yield from _claims(*marker.args, **marker.kwargs, test=item.nodeid)
        except TypeError as error:
            raise pytest.UsageError(f"{item.nodeid}: contract{marker.args}: {error}") from None


def _claims(endpoint: str, field: str | tuple[str, ...], verdict: str, how: str = "", *, test: str) -> Iterator[Claim]:
    if verdict not in VERDICTS:
        raise TypeError(f"the verdict is one of {', '.join(VERDICTS)}, not {verdict!r}")
    if verdict == "different" and not how:
        raise TypeError("what is different says how")
    for name in (field,) if isinstance(field, str) else field:
        yield Claim(endpoint, name, verdict, how, test)


def tabulate(claims: Iterable[Claim], endpoints: dict[str, Endpoint]) -> Table:
    """Bring claims and description together: what is claimed but not there, there but not claimed, claimed twice."""
    said: dict[str, dict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    for claim in sorted(set(claims)):
        said[claim.endpoint][claim.field].append(claim)
    table = Table()
    for name in sorted({*endpoints, *said}, key=lambda name: (name.split()[1], name)):
        rows = {}
        for place, about in said[name].items():
            rows[place] = Row(about[0].verdict, " ".join(dict.fromkeys(claim.how for claim in about if claim.how)))
            if len({claim.verdict for claim in about}) > 1:
                table.problems.append(f"{name} {place!r}: " + ", ".join(f"{c.verdict} by {c.test}" for c in about))
        wanted = (WHOLE, *endpoints[name].fields) if name in endpoints else (WHOLE,)
        beyond = [place for place in rows if place not in (*wanted, ALIKE) and not place.startswith(HEADER)]
        for place in [WHOLE] * (name not in endpoints) + beyond:
            if rows.get(place, Row("refused")).verdict != "refused":
                table.problems.append(f"{name} {place!r} is claimed, but the API's description does not have it")
        like = _like(rows.get(ALIKE), endpoints)
        missing = [place for place in wanted if place not in rows and place not in like]
        table.untested += [f"{name} {place}".strip() for place in missing if name in endpoints]
        ordered = dict.fromkeys((ALIKE, *wanted, *rows))
        shown = {place: rows.get(place, Row(UNTESTED)) for place in ordered if place in rows or place in missing}
        table.rows[name] = shown
    return table


def _like(row: Row | None, endpoints: dict[str, Endpoint]) -> tuple[str, ...]:
    """The fields of the endpoint that a row for all fields names."""
    return () if row is None else endpoints.get(row.how.split("`")[1], Endpoint("")).fields


def page(table: Table, endpoints: dict[str, Endpoint]) -> str:
    """docs/compatibility.md: a section for each area, a part for each endpoint, a line for each field.

    OpenAI's areas come first, then Azure's. What every endpoint of an area has in common stands once, at its head.
    """
    areas: dict[str, list[str]] = defaultdict(list)
    for name in table.rows:
        areas[endpoints[name].area if name in endpoints else _BEYOND].append(name)
    parts = [_HEAD]
    for area in sorted(areas, key=lambda area: (area == _BEYOND, area.startswith("Azure"), area)):
        parts.append(f"\n## {area}\n")
        shared = _shared([table.rows[name] for name in areas[area]])
        if shared:
            parts += ["\nEvery request here may hold:\n", *_lines(shared)]
        for name in areas[area]:
            rows = {place: row for place, row in table.rows[name].items() if place not in shared}
            whole = rows.pop(WHOLE, Row("refused"))
            summary = endpoints[name].summary if name in endpoints else ""
            told = " ".join(text for text in (f"**{whole.verdict.capitalize()}.**", summary, whole.how) if text)
            parts += [f"\n### `{name}`\n\n{told}\n", *_lines(rows)]
    return "".join(parts)


def _shared(endpoints: list[dict[str, Row]]) -> dict[str, Row]:
    """The fields that all of several endpoints have, and alike."""
    if len(endpoints) < 2:
        return {}
    return {
        place: row
        for place, row in endpoints[0].items()
        if place not in (WHOLE, ALIKE) and all(rows.get(place) == row for rows in endpoints)
    }


def _lines(rows: dict[str, Row]) -> list[str]:
    """The fields as a table, or nothing where there are none."""
    head = ["\n| field | | |\n|---|---|---|\n"] if rows else []
    return head + [f"| {_shown(place)} | {row.verdict} | {_cell(row.how)} |\n" for place, row in rows.items()]


def _shown(place: str) -> str:
    if place == ALIKE:
        return "every field of the body"
    return f"header `{place.removeprefix(HEADER)}`" if place.startswith(HEADER) else f"`{place}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


class Collector:
    """A plugin that keeps the claims of what pytest collects."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.claims = [claim for item in items for claim in claims_of(item)]


def collect() -> list[Claim]:
    """The claims of all tests in this folder. To be called in a process of its own, since pytest imports them.

    Raises:
        SystemExit: they cannot be collected.
    """
    collector = Collector()
    with redirect_stdout(StringIO()) as told:
        code = pytest.main(
            ["--collect-only", "-p", "no:cacheprovider", "-p", "no:xdist", str(Path(__file__).parent)],
            plugins=[collector],
        )
    if code:
        raise SystemExit(f"{told.getvalue()}\nThe contract tests cannot be collected.")
    return collector.claims


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python tests/contract/compatibility.py docs/compatibility.md")
    from luthier.server.openapi import document

    endpoints = described(json.loads(document()))
    Path(sys.argv[1]).write_text(page(tabulate(collect(), endpoints), endpoints), encoding="utf-8")
