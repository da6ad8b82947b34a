"""What the names of embedding models ask for."""

import pytest

from luthier.domain.embedding import Manners, Side, manners_of


@pytest.mark.parametrize("name", ["text-embedding-ada-002", "text-embedding-3-large", "ada", "hf:a/b", "/a/b", ""])
def test_names_of_today_take_anything(name: str) -> None:
    assert manners_of(name) == Manners(max_tokens=8191, takes_ids=True, joins_lines=False, side=None)


@pytest.mark.parametrize(
    ("name", "side", "joins_lines"),
    [
        ("text-similarity-davinci-001", None, True),
        ("babbage-similarity", None, True),
        ("text-search-curie-doc-001", Side.DOCUMENT, True),
        ("curie-search-document", Side.DOCUMENT, True),
        ("text-search-curie-query-001", Side.QUERY, True),
        ("ada-search-query", Side.QUERY, True),
        ("code-search-babbage-code-001", Side.DOCUMENT, False),
        ("babbage-code-search-code", Side.DOCUMENT, False),
        ("code-search-ada-text-001", Side.QUERY, False),
        ("ada-code-search-text", Side.QUERY, False),
    ],
)
def test_the_first_generation_has_a_name_for_each_task(name: str, side: Side | None, joins_lines: bool) -> None:
    assert manners_of(name) == Manners(2046, False, joins_lines, side)


@pytest.mark.parametrize("name", ["code-search-curie-code-001", "text-search-ada-001", "text-similarity-ada-002"])
def test_names_that_never_were_are_as_any_other(name: str) -> None:
    assert manners_of(name) == Manners()
