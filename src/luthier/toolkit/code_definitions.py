"""Functions, methods and classes of a source file, with their comments, by tree-sitter.

A definition's text begins with its decorators and ends with its last line. Of a class, what its members do is left out:
each of them is a definition of its own.
"""

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from luthier.toolkit.code_languages import FUNCTION, METHOD, Language, parser_of

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_TEXT = 20_000  # characters that are kept of a definition
_COMMENTS = frozenset({"comment", "line_comment", "block_comment"})
_ATTRIBUTES = frozenset({"attribute_item"})
_MARKERS = re.compile(r"^\s*(/\*\*?!?|\*/|//[/!]?|\*(?!/)|#)[ \t]?|\s*\*/\s*$")
_CUT = b" \xe2\x80\xa6"  # an ellipsis in place of a member's body


@dataclass(frozen=True)
class Definition:
    """Something that a file defines.

    Args:
        path: of the file, from the repository's root, with slashes.
        language: its name.
        kind: `function`, `method`, `class`, `struct`, `interface`, …
        name: with the scopes around it, such as `Client.post`.
        line, end_line: first and last, counted from 1; the first is that of decorators.
        doc: its docstring, else the comment right before it, without the comment's marks.
        text: its source.
    """

    path: str
    language: str
    kind: str
    name: str
    line: int
    end_line: int
    doc: str
    text: str


@dataclass
class _Found:
    """A definition while its file is being walked; `cuts` are the bodies of its members, as byte ranges."""

    kind: str
    name: str
    first: "Node"
    last: "Node"
    doc: str
    cuts: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """A node to look at, and what is known of where it stands.

    Args:
        first, last: nodes that the text of a definition here begins and ends with, wider than `node` where wrapped.
        comments: right before it.
        holder: the definition it is a member of.
    """

    node: "Node"
    scope: tuple[str, ...] = ()
    first: "Node | None" = None
    last: "Node | None" = None
    comments: tuple["Node", ...] = ()
    holder: _Found | None = None
    in_type: bool = False


def extract(path: str, source: bytes, language: Language) -> list[Definition]:
    """The definitions of a source file, by line. What cannot be parsed is passed over; the rest is found.

    Functions inside of functions belong to the outer one.

    Args:
        path: for the results.
        source: UTF-8.

    Raises:
        ConfigError: the language's grammar is not installed.
    """
    source = source.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    root = parser_of(language.name).parse(source).root_node
    found = list(_walk(root, language))  # whole, since members cut into their class
    found.sort(key=lambda one: (one.first.start_byte, -one.last.end_byte))
    return [_finish(one, path, source, language) for one in found]


def top_level_functions(path: str, source: str) -> list[Definition]:
    """Python functions as the guide's code search takes them: lines that begin with `def `, and what is indented below.

    It knows neither methods nor classes, `async def`, or decorators. Kept to compare `extract` with.
    """
    lines = source.splitlines()
    made = []
    for at, line in enumerate(lines):
        if not line.startswith("def "):
            continue
        end = at + 1
        while end < len(lines) and (not lines[end] or lines[end][0] in " \t)"):
            end += 1
        text = "\n".join(lines[at:end]).rstrip()
        name = line[len("def ") :].partition("(")[0].strip()
        made.append(Definition(path, "python", FUNCTION, name, at + 1, at + 1 + text.count("\n"), "", text))
    return made


def _walk(root: "Node", language: Language) -> Iterator[_Found]:
    """Definitions below `root`, members before and after their class in no order. A stack: code can nest deep."""
    places = [_Place(root)]
    while places:
        place = places.pop()
        found = _found_at(place, language)
        if found is None:
            places += _below(place, place.scope, language)
            continue
        body = _body(place.node, language)
        if body is not None and place.holder is not None:
            place.holder.cuts.append((body.start_byte, body.end_byte))
        yield found
        if found.kind not in (FUNCTION, METHOD):
            inside = _Place(place.node, holder=found, in_type=True)
            places += _below(inside, (found.name,), language)


def _below(place: _Place, scope: tuple[str, ...], language: Language) -> Iterator[_Place]:
    """The children of a node as places, each with the comments and attributes right before it."""
    node = place.node
    in_type = place.in_type
    if node.type in language.scopes:
        name = node.child_by_field_name(language.scopes[node.type])
        scope = (*scope, _plain(name)) if name is not None else scope
        in_type = in_type or node.type == "impl_item"
    children = node.named_children
    kinds = Counter(child.type for child in children) if node.type in language.wrappers else Counter[str]()
    before: list[Node] = []
    row = -1  # where the child before ended
    for child in children:
        if child.type in _COMMENTS or child.type in _ATTRIBUTES:
            if before and child.start_point.row > _last_row(before[-1]) + 1:
                before = []
            if child.start_point.row != row:  # a comment at the end of a line belongs to that line
                before.append(child)
            continue
        near = before if before and child.start_point.row <= _last_row(before[-1]) + 1 else []
        before, row = [], child.end_point.row
        if not child.named_child_count:
            continue
        comments = tuple(item for item in near if item.type in _COMMENTS)
        attributes = [item for item in near if item.type in _ATTRIBUTES]
        alone = kinds[child.type] == 1
        first, last = (place.first or node, place.last or node) if alone else (None, None)
        yield _Place(
            child,
            scope,
            first or (attributes[0] if attributes else None),
            last,
            comments or (place.comments if alone else ()),
            place.holder,
            in_type,
        )


def _last_row(node: "Node") -> int:
    """The last row with text of a node. A line comment of Rust ends at the start of the next row."""
    return node.end_point.row - (node.end_point.column == 0 and node.end_point.row > node.start_point.row)


def _found_at(place: _Place, language: Language) -> _Found | None:
    node = place.node
    kind = language.definitions.get(node.type)
    if kind is not None:
        if node.type in language.bodied and node.child_by_field_name("body") is None:
            return None
        name = _name(place)
    elif node.type in language.bindings:
        name_field, value_field = language.bindings[node.type]
        value = node.child_by_field_name(value_field)
        if value is None or value.type not in language.values:
            return None
        kind = language.values[value.type]
        name = _text_of(node.child_by_field_name(name_field)) if name_field else "default"
    else:
        return None
    if not name:
        return None
    scope = place.scope
    if (receiver := node.child_by_field_name("receiver")) is not None:
        scope = (*scope, *re.findall(r"[^\W\d]\w*", re.sub(r"\[.*", "", _text_of(receiver)))[-1:])
    if kind == FUNCTION and (place.in_type or (language.name == "cpp" and "::" in name)):
        kind = METHOD
    if node.type == "type_spec" and (of := node.child_by_field_name("type")) is not None:
        kind = {"struct_type": "struct", "interface_type": "interface"}.get(of.type, kind)
    doc = (_docstring(node) if language.name == "python" else "") or _comment_text(place.comments)
    full = language.separator.join((*scope, name))
    return _Found(kind, full, place.first or node, place.last or node, doc)


def _name(place: _Place) -> str:
    """A definition's own name: its field, that of C's declarators, or of the typedef around it."""
    node = place.node
    if (name := node.child_by_field_name("name")) is not None:
        return _text_of(name)
    inner = node.child_by_field_name("declarator")
    if inner is None:
        wrapper = place.last
        around = wrapper.child_by_field_name("declarator") if wrapper is not None else None
        return _text_of(around) if around is not None and wrapper is not None else ""
    while inner.type.endswith("_declarator"):
        below = inner.child_by_field_name("declarator") or next(
            (child for child in inner.named_children if child.type.endswith(("declarator", "identifier", "name"))), None
        )
        if below is None:
            return ""
        inner = below
    return " ".join(_text_of(inner).partition("(")[0].split())


def _body(node: "Node", language: Language) -> "Node | None":
    """The node of what a definition does."""
    if node.type in language.bindings:
        value = node.child_by_field_name(language.bindings[node.type][1])
        return value.child_by_field_name("body") if value is not None else None
    return node.child_by_field_name("body")


def _docstring(node: "Node") -> str:
    """The docstring of a Python definition."""
    body = node.child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_children else None
    if first is not None and first.type == "expression_statement" and first.named_children:
        first = first.named_children[0]
    if first is None or first.type != "string":
        return ""
    return inspect.cleandoc("".join(_text_of(part) for part in first.named_children if part.type == "string_content"))


def _comment_text(comments: tuple["Node", ...]) -> str:
    lines = "\n".join(_text_of(comment).rstrip("\n") for comment in comments).split("\n")
    return "\n".join(_MARKERS.sub("", _MARKERS.sub("", line)).rstrip() for line in lines).strip()


def _plain(node: "Node") -> str:
    """A type's name without its parameters."""
    return re.sub(r"<.*", "", _text_of(node), flags=re.DOTALL)


def _text_of(node: "Node | None") -> str:
    return node.text.decode("utf-8", "replace") if node is not None and node.text is not None else ""


def _finish(found: _Found, path: str, source: bytes, language: Language) -> Definition:
    at, end = found.first.start_byte, max(found.last.end_byte, found.first.end_byte)
    line_start = source.rfind(b"\n", 0, at) + 1
    if not source[line_start:at].strip():
        at = line_start  # with its indentation, which dedent takes from all lines alike
    parts = []
    for start, stop in sorted(found.cuts):
        parts += [source[at:start].rstrip(), _CUT]
        at = stop
    text = b"".join([*parts, source[at:end]]).decode("utf-8", "replace")
    return Definition(
        path=path,
        language=language.name,
        kind=found.kind,
        name=found.name,
        line=found.first.start_point.row + 1,
        end_line=_last_row(found.last) + 1,
        doc=found.doc,
        text=textwrap.dedent(text)[:MAX_TEXT],
    )
