"""The API's description, whole, as it stands in docs/openapi.json."""

import json
from pathlib import Path

from luthier.server.openapi import document

GOLDEN = Path(__file__).parents[2] / "docs" / "openapi.json"
PAGES = ("api.md", "azure.md")


def _docs() -> str:
    return "".join((GOLDEN.parent / page).read_text(encoding="utf-8") for page in PAGES)


def test_the_description_is_the_committed_one() -> None:
    assert document() == GOLDEN.read_text(encoding="utf-8"), (
        "The API changed. If that is meant, run `python -m luthier.server.openapi docs/openapi.json`."
    )


def test_docs_name_every_path_and_every_field_of_a_request() -> None:
    described = json.loads(document())
    docs = _docs()
    for path, methods in described["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in docs, f"{method} {path}"
    for name, schema in described["components"]["schemas"].items():
        if name.endswith("Body"):
            missing = [field for field in schema["properties"] if f"`{field}`" not in docs and f'"{field}"' not in docs]
            assert not missing, (name, missing)


def test_docs_name_every_query_parameter() -> None:
    docs = _docs()
    for path, methods in json.loads(document())["paths"].items():
        lines = [line for line in docs.splitlines() if f"`GET {path}`" in line]
        for parameter in methods.get("get", {}).get("parameters", []):
            if parameter["in"] == "query" and parameter["name"] != "api-version":  # on each path of Azure's API
                assert any(f"`{parameter['name']}" in line for line in lines), (path, parameter["name"])
