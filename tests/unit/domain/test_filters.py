"""Conditions: reading them, and what they mean."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.domain.filters import Comparison, Compound, Filter, Op, check, keys_of, matches, parse_where
from luthier.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Score >= 4", Comparison("Score", Op.GTE, 4)),
        ("Score>=-4.5e1", Comparison("Score", Op.GTE, -45.0)),
        ("lang = 'en'", Comparison("lang", Op.EQ, "en")),
        ('lang <> "it\'s"', Comparison("lang", Op.NE, "it's")),
        (r"lang == 'it\'s'", Comparison("lang", Op.EQ, "it's")),
        ("sold == TRUE", Comparison("sold", Op.EQ, True)),
        ("`Best before` in (1, 2)", Comparison("Best before", Op.IN, (1, 2))),
        ("a.b not in ['x']", Comparison("a.b", Op.NIN, ("x",))),
        ("평점 > 3", Comparison("평점", Op.GT, 3)),
        ("order == 1", Comparison("order", Op.EQ, 1)),
        (
            "a == 1 or b == 2 and (c == 3 or d == 4)",
            Compound(
                False,
                (
                    Comparison("a", Op.EQ, 1),
                    Compound(
                        True,
                        (
                            Comparison("b", Op.EQ, 2),
                            Compound(False, (Comparison("c", Op.EQ, 3), Comparison("d", Op.EQ, 4))),
                        ),
                    ),
                ),
            ),
        ),
    ],
)
def test_reads(text: str, expected: Filter) -> None:
    assert parse_where(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should have the name of a column where it has its end"),
        ("Score", "should have a comparison"),
        ("Score >=", "a number, a text in quotes, true or false"),
        ("Score >= four", "a number, a text in quotes"),
        ("Score >= 4 Score", "an end, `and` or `or`"),
        ("Score >= 4 and", "the name of a column"),
        ("(Score >= 4", "a closing parenthesis"),
        ("Score in 4", "a list such as"),
        ("Score in (4", "a comma or \\)"),
        ("Score not 4", "should have `in`"),
        ("Score >= 4; drop", "cannot be read from '; drop'"),
        ("__import__('os').system('x')", "cannot be read from"),
        ("Score >= true", "no order"),
        ("(" * 30 + "a == 1" + ")" * 30, "fewer parentheses"),
        ("4 >= 3", "the name of a column"),
        ("a == 1x", "cannot be read"),
    ],
)
def test_says_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        parse_where(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequestError):
        check(parse_where(text))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("n >= 4", True),
        ("n < 4", False),
        ("n == 4.0", True),
        ("n == '4'", False),
        ("n != '4'", True),
        ("t > 'a'", True),
        ("t > 3", False),
        ("b == true", True),
        ("b == 1", False),
        ("nothing == 1", False),
        ("nothing != 1", True),
        ("nothing not in (1)", True),
        ("nothing > 1 or n == 4", True),
        ("nan != 1 and n in (3, 4)", True),
        ("nan >= 0", False),
    ],
)
def test_means(text: str, holds: bool) -> None:
    row = {"n": 4, "t": "b", "b": True, "nothing": None, "nan": float("nan")}
    assert matches(parse_where(text), row) is holds


def test_no_condition_holds_always() -> None:
    assert matches(None, {})
    assert list(keys_of(None)) == []
    assert list(keys_of(parse_where("a == 1 and (b == 2 or a == 3)"))) == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Compound(True, ()), "at least one condition"),
        (Comparison("a", Op.IN, 3), "takes a list of values"),
        (Comparison("a", Op.EQ, (3,)), "takes one value"),
        (Comparison("a", Op.IN, tuple(range(10_001))), "more than 10,000 values"),
    ],
)
def test_checks(condition: Filter, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        check(condition)


def test_nesting_has_an_end() -> None:
    condition: Filter = Comparison("a", Op.EQ, 3)
    for _ in range(25):
        condition = Compound(True, (condition,))
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        check(condition)
