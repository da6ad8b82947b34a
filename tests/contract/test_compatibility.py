"""docs/compatibility.md says what the tests say, and of every field."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from compatibility import Claim, Endpoint, Row, claims_of, described, page, tabulate

from luthier.server.openapi import document

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
MAKE = "python tests/contract/compatibility.py docs/compatibility.md"
COLLECT = (
    "import dataclasses, json, compatibility; print(json.dumps([*map(dataclasses.astuple, compatibility.collect())]))"
)


@pytest.fixture(scope="module")
def claims() -> list[Claim]:
    """Of all contract tests, collected in a process of its own, since this one may have been given only some."""
    command = [sys.executable, "-c", COLLECT]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Claim(*fields) for fields in json.loads(done.stdout)]


ENDPOINTS = described(json.loads(document()))


def test_the_page_is_what_make_docs_writes(claims: list[Claim]) -> None:
    made = page(tabulate(claims, ENDPOINTS), ENDPOINTS)
    assert PAGE.read_text(encoding="utf-8") == made, f"run `make docs`, or `{MAKE}`"


def test_no_claim_contradicts_another_or_the_description(claims: list[Claim]) -> None:
    assert tabulate(claims, ENDPOINTS).problems == []


def test_every_endpoint_and_field_is_shown_by_a_test(claims: list[Claim]) -> None:
    """Mark the test that shows it: @pytest.mark.contract("POST /v1/embeddings", "dimensions", "honoured")."""
    assert tabulate(claims, ENDPOINTS).untested == []


def test_fields_of_a_description() -> None:
    leaf = {"properties": {"name": {"type": "string"}, "again": {"$ref": "#/components/schemas/Tool"}}}
    body = {
        "properties": {
            "model": {"type": "string"},
            "tools": {"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Tool"}}, {"type": "null"}]},
        }
    }
    operation = {
        "tags": ["Chat"],
        "description": "Answer.\nMore.",
        "parameters": [{"in": "query", "name": "q"}, {"in": "path", "name": "id"}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
    }
    paths = {"/v1/chat": {"post": operation}}
    found = described({"paths": paths, "components": {"schemas": {"Tool": leaf, "Body": body}}})
    fields = ("q", "model", "tools", "tools[].name", "tools[].again")
    assert found == {"POST /v1/chat": Endpoint("Chat", "Answer.", fields)}


def claim(field: str, verdict: str = "honoured", how: str = "", endpoint: str = "POST /a") -> Claim:
    return Claim(endpoint, field, verdict, how, f"test_{verdict}")


def test_what_is_missing_is_listed() -> None:
    table = tabulate([claim(""), claim("x")], {"POST /a": Endpoint("A", "", ("x", "y")), "GET /b": Endpoint("A")})
    assert table.untested == ["POST /a y", "GET /b"]
    assert table.rows["POST /a"] == {"": Row("honoured"), "x": Row("honoured"), "y": Row("untested")}
    assert table.problems == []


def test_tests_that_disagree_and_fields_that_are_not_there_are_problems() -> None:
    endpoints = {"POST /a": Endpoint("A", "", ("x",))}
    assert "honoured by test_honoured, refused by test_refused" in "".join(
        tabulate([claim("x"), claim("x", "refused")], endpoints).problems
    )
    assert "'z' is claimed" in "".join(tabulate([claim("z")], endpoints).problems)
    assert "POST /b '' is claimed" in "".join(tabulate([claim("", endpoint="POST /b")], endpoints).problems)
    fine = [claim("z", "refused"), claim("header X"), claim("", "refused", endpoint="POST /b")]
    assert tabulate(fine, endpoints).problems == []


def test_a_path_may_take_the_body_of_another() -> None:
    endpoints = {"POST /a": Endpoint("A", "", ("x", "y")), "POST /b": Endpoint("A", "", ("x", "y", "z"))}
    alike = claim("*", how="As `POST /a`.", endpoint="POST /b")
    assert tabulate([alike], endpoints).untested == ["POST /a", "POST /a x", "POST /a y", "POST /b", "POST /b z"]


def test_the_page() -> None:
    endpoints = {"POST /a": Endpoint("Area", "Makes it.", ("x",))}
    made = page(
        tabulate([claim("", how="At once."), claim("x", "different", "a|b"), claim("header H")], endpoints), endpoints
    )
    assert made.endswith(
        "\n## Area\n\n### `POST /a`\n\n**Honoured.** Makes it. At once.\n\n"
        "| field | | |\n|---|---|---|\n| `x` | different | a\\|b |\n| header `H` | honoured |  |\n"
    )


def test_what_all_of_an_area_have_in_common_stands_once() -> None:
    claims = [claim(field, endpoint=name) for name in ("GET /a", "POST /a") for field in ("", "v")]
    endpoints = dict.fromkeys(("GET /a", "POST /a"), Endpoint("Area", "", ("v",)))
    made = page(tabulate([*claims, claim("x", "refused")], endpoints), endpoints)
    assert made.count("| `v` | honoured |") == 1
    assert made.index("| `v` |") < made.index("GET /a") < made.index("| `x` | refused |")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("POST /a", "x", "fine"), "the verdict is one of"),
        (("POST /a", "x", "different"), "says how"),
        (("POST /a",), "missing 2 required"),
    ],
)
def test_a_marker_that_cannot_be_understood(
    request: pytest.FixtureRequest, arguments: tuple[str, ...], words: str
) -> None:
    item = request.node
    item.add_marker(pytest.mark.contract(*arguments))
    with pytest.raises(pytest.UsageError, match=words):
        list(claims_of(item))
