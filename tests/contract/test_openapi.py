"""The API's description, whole, as it stands in docs/openapi.json."""

from pathlib import Path

from luthier.server.openapi import document

GOLDEN = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_description_is_the_committed_one() -> None:
    assert document() == GOLDEN.read_text(encoding="utf-8"), (
        "The API changed. If that is meant, run `python -m luthier.server.openapi docs/openapi.json`."
    )
