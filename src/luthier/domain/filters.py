"""Conditions on the attributes of what is searched, such as `Score >= 4`: a tree that every store reads.

People write them (`parse_where`), clients send them (`server.wire`). Nothing of it is ever run as code.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn, TypeAlias

from luthier.errors import InvalidRequestError

Scalar: TypeAlias = str | float | int | bool
"""Value of an attribute."""


class Op(StrEnum):
    """How an attribute is compared. `ne` and `nin` are the opposite of `eq` and `in`: they hold without it too."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NIN = "nin"


@dataclass(frozen=True)
class Comparison:
    """One attribute against a value. Numbers compare with numbers, texts with texts, truth with truth.

    Args:
        value: a tuple for `in` and `nin`.
    """

    key: str
    op: Op
    value: Scalar | tuple[Scalar, ...]

    @property
    def values(self) -> tuple[Scalar, ...]:
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True)
class Compound:
    """Several conditions of which all hold, or any."""

    all: bool
    filters: tuple["Filter", ...]


Filter: TypeAlias = Comparison | Compound

_MAX_DEPTH = 20
_MAX_VALUES = 10_000
ORDERED: Mapping[Op, Callable[[Any, Any], bool]] = {
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
}


def kind_of(value: object) -> str | None:
    """`bool`, `number` or `text`; None for what is nothing to compare with: null, NaN, lists."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return None if isinstance(value, float) and math.isnan(value) else "number"
    return "text" if isinstance(value, str) else None


def is_too_large(value: Scalar) -> bool:
    """Whether a number is beyond what floating-point numbers reach."""
    try:
        return isinstance(value, int | float) and math.isinf(value)
    except OverflowError:
        return True


def _equal(left: object, right: object) -> bool:
    return kind_of(left) == kind_of(right) is not None and left == right


def matches(condition: Filter | None, attributes: Mapping[str, Any]) -> bool:
    """Whether a condition holds for one row's attributes; None holds always."""
    if condition is None:
        return True
    if isinstance(condition, Compound):
        return (all if condition.all else any)(matches(one, attributes) for one in condition.filters)
    found = attributes.get(condition.key)
    if condition.op in ORDERED:
        return kind_of(found) == kind_of(condition.value) and ORDERED[condition.op](found, condition.value)
    inside = any(_equal(found, value) for value in condition.values)
    return inside == (condition.op in (Op.EQ, Op.IN))


def keys_of(condition: Filter | None) -> Iterator[str]:
    """Names of all attributes that a condition looks at."""
    if isinstance(condition, Compound):
        for one in condition.filters:
            yield from keys_of(one)
    elif condition is not None:
        yield condition.key


def check(condition: Filter, param: str = "filters", depth: int = 1) -> None:
    """
    Raises:
        InvalidRequestError: a value that the comparison does not take, or nesting without end; blamed on `param`.
    """
    if isinstance(condition, Compound):
        if depth > _MAX_DEPTH:
            raise InvalidRequestError(
                f"The condition is nested deeper than {_MAX_DEPTH} levels. Write it flatter.", param=param
            )
        if not condition.filters:
            raise InvalidRequestError("An `and` or `or` needs at least one condition.", param=param)
        for one in condition.filters:
            check(one, param, depth + 1)
        return
    many = condition.op in (Op.IN, Op.NIN)
    if many != isinstance(condition.value, tuple):
        wants = "a list of values" if many else "one value"
        raise InvalidRequestError(f"The comparison '{condition.op}' of '{condition.key}' takes {wants}.", param=param)
    if len(condition.values) > _MAX_VALUES:
        raise InvalidRequestError(f"'{condition.key}' is compared with more than {_MAX_VALUES:,} values.", param=param)
    if any(map(is_too_large, condition.values)):
        raise InvalidRequestError(f"'{condition.key}' is compared with a number that is too large.", param=param)
    if condition.op in ORDERED and isinstance(condition.value, bool):
        raise InvalidRequestError(
            f"'{condition.key}' is compared by '{condition.op}' with true or false, which have no order. Use eq or ne.",
            param=param,
        )


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<quoted>`[^`]+`)
      | (?P<sign>==|!=|<>|<=|>=|=|<|>|\(|\)|\[|\]|,)
      | (?P<word>[^\W\d][\w.\-]*)
    )""",
    re.VERBOSE,
)
_SIGNS = {
    "=": Op.EQ,
    "==": Op.EQ,
    "!=": Op.NE,
    "<>": Op.NE,
    "<": Op.LT,
    "<=": Op.LTE,
    ">": Op.GT,
    ">=": Op.GTE,
}
_HOW = (
    "Write conditions such as: Score >= 4 and ProductId in ('B001', 'B002'). Texts stand in quotes, names with spaces "
    "in `backticks`."
)


def parse_where(text: str) -> Filter:
    """A condition as a person writes it.

    `Score >= 4`, `lang == 'en' and (Score < 2 or Score > 4)`, `ProductId in ('a', 'b')`, `ProductId not in ('a')`.
    `and` binds stronger than `or`.

    Raises:
        InvalidRequestError: it cannot be read, saying where; `param` is `where`.
    """
    return _Parser(text).parse()


class _Parser:
    """Reads by descent: or → and → one comparison or parentheses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._cut(text))
        self._at = 0
        self._depth = 0

    def parse(self) -> Filter:
        made = self._any()
        if self._at < len(self._tokens):
            self._refuse("an end, `and` or `or`")
        check(made, "where")
        return made

    def _cut(self, text: str) -> Iterator[tuple[str, str]]:
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise InvalidRequestError(
                    f"The condition cannot be read from {text[at:].strip()[:30]!r} on. {_HOW}", param="where"
                )
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _is(self, *words: str) -> bool:
        kind, value = self._peek()
        return kind in ("word", "sign") and value.lower() in words

    def _take(self, *words: str) -> bool:
        if self._is(*words):
            self._at += 1
            return True
        return False

    def _refuse(self, wanted: str) -> NoReturn:
        kind, value = self._peek()
        there = "its end" if kind == "end" else repr(value)
        raise InvalidRequestError(
            f"The condition {self._text!r} should have {wanted} where it has {there}. {_HOW}", param="where"
        )

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Compound(False, tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Compound(True, tuple(parts))

    def _one(self) -> Filter:
        if not self._take("("):
            return self._comparison()
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._refuse("fewer parentheses")
        inner = self._any()
        self._depth -= 1
        if not self._take(")"):
            self._refuse("a closing parenthesis")
        return inner

    def _comparison(self) -> Filter:
        kind, key = self._peek()
        if kind not in ("word", "quoted") or self._is("and", "or", "not", "in"):
            self._refuse("the name of a column")
        self._at += 1
        key = key.strip("`")
        negated = self._take("not")
        if self._take("in"):
            return Comparison(key, Op.NIN if negated else Op.IN, self._values())
        kind, sign = self._peek()
        if negated or sign not in _SIGNS:
            self._refuse("`in`" if negated else "a comparison such as >= or in")
        self._at += 1
        return Comparison(key, _SIGNS[sign], self._value())

    def _values(self) -> tuple[Scalar, ...]:
        close = ")" if self._take("(") else "]" if self._take("[") else ""
        if not close:
            self._refuse("a list such as ('a', 'b')")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if not self._take(close):
            self._refuse(f"a comma or {close}")
        return tuple(values)

    def _value(self) -> Scalar:
        kind, value = self._peek()
        if kind not in ("number", "text") and not self._is("true", "false"):
            self._refuse("a number, a text in quotes, true or false")
        self._at += 1
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", value[1:-1])
        if kind == "word":
            return value.lower() == "true"
        return float(value) if any(sign in value.lower() for sign in ".e") else int(value)
