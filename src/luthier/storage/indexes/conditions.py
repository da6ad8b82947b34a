"""Conditions as SQLite reads them, for the embedded index."""

import json
from collections.abc import Sequence
from typing import Any

from luthier.domain.filters import ORDERED, Comparison, Compound, Filter, Op, kind_of
from luthier.storage.indexes.base import storable

_KINDS = {"number": "('integer', 'real')", "text": "('text')", "bool": "('true', 'false')"}
_MOST_INTEGER = 2**63 - 1  # that SQLite has
_SIGNS = {Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<="}


def sql_of(where: Filter) -> tuple[str, list[Any]]:
    """A condition on the JSON of `attributes`, as SQLite has it, with its parameters."""
    if isinstance(where, Compound):
        parts = [sql_of(one) for one in where.filters]
        joined = _joined([text for text, _ in parts], "AND" if where.all else "OR")
        return joined, [value for _, values in parts for value in values]
    if where.op in ORDERED:
        value = storable(where.values[0])
        return _compared(where, _SIGNS[where.op] + " ?", value, value)
    parts = []
    for kind in _KINDS:  # however many values, few parameters
        if of_kind := [storable(value) for value in where.values if kind_of(value) == kind]:
            parts.append(_compared(where, "IN (SELECT value FROM json_each(?))", of_kind[0], json.dumps(of_kind)))
    inside = _joined([text for text, _ in parts], "OR") if parts else "0"
    values = [value for _, some in parts for value in some]
    return (inside, values) if where.op in (Op.EQ, Op.IN) else (f"NOT ({inside})", values)


def _joined(parts: Sequence[str], word: str) -> str:
    """Conditions as a balanced tree: SQLite takes any number of them, but no tree deeper than 1,000."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_joined(parts[:middle], word)} {word} {_joined(parts[middle:], word)})"


def _compared(where: Comparison, test: str, value: Any, operand: Any) -> tuple[str, list[Any]]:
    """A test of an attribute that has the kind of `value`."""
    kind = kind_of(value)
    if kind is None or '"' in where.key:
        return "0", []
    if isinstance(operand, int) and abs(operand) > _MOST_INTEGER:
        operand = float(operand)
    path = "$." + json.dumps(where.key, ensure_ascii=False)  # escaped as it is in the column
    # coalesce: an attribute that is not there is not equal, rather than unknown.
    right_kind = f"coalesce(json_type(attributes, ?) IN {_KINDS[kind]}, 0)"
    return f"({right_kind} AND json_extract(attributes, ?) {test})", [path, path, operand]
