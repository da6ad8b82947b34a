"""The programming languages whose functions and classes can be found, each a table over its tree-sitter grammar."""

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError, InvalidRequestError, nearest

if TYPE_CHECKING:
    from tree_sitter import Parser

FUNCTION = "function"
METHOD = "method"


@dataclass(frozen=True)
class Language:
    """How to read definitions off the syntax trees of one grammar.

    Args:
        name: as --lang takes it.
        package: the grammar's, and its function in it.
        suffixes: of file names, each with its dot.
        definitions: types of nodes that define something, and what kind of thing. Functions inside others of these
            are methods.
        bodied: of those, types that define something only where they have a body: C's `struct s *p` names one.
        bindings: types of nodes that define what their value is: fields of the name and of the value. Without one
            of the name it is `default`, as of `export default`.
        values: types of values that are functions or classes, and what kind of thing each is.
        wrappers: types of nodes around a definition that belong to its text, such as decorators.
        scopes: types of nodes that name a scope and define nothing, and the field of the name.
        separator: between the names of a scope and of what stands in it.
    """

    name: str
    package: tuple[str, str]
    suffixes: tuple[str, ...]
    definitions: Mapping[str, str]
    bodied: frozenset[str] = frozenset()
    bindings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    wrappers: frozenset[str] = frozenset()
    scopes: Mapping[str, str] = field(default_factory=dict)
    separator: str = "."


_JAVASCRIPT: dict[str, Any] = {
    "bindings": {
        "variable_declarator": ("name", "value"),
        "assignment_expression": ("left", "right"),
        "pair": ("key", "value"),
        "field_definition": ("property", "value"),
        "public_field_definition": ("name", "value"),
        "export_statement": ("", "value"),
    },
    "values": {
        "arrow_function": FUNCTION,
        "function_expression": FUNCTION,
        "generator_function": FUNCTION,
        "class": "class",
    },
    "wrappers": frozenset(
        {
            "export_statement",
            "lexical_declaration",
            "variable_declaration",
            "expression_statement",
            "ambient_declaration",
        }
    ),
}
_JAVASCRIPT_KINDS = {
    "function_declaration": FUNCTION,
    "generator_function_declaration": FUNCTION,
    "method_definition": FUNCTION,
    "class_declaration": "class",
}
_TYPESCRIPT_KINDS = {
    **_JAVASCRIPT_KINDS,
    "abstract_class_declaration": "class",
    "interface_declaration": "interface",
    "enum_declaration": "enum",
    "type_alias_declaration": "type",
}
_C_KINDS = {
    "function_definition": FUNCTION,
    "struct_specifier": "struct",
    "union_specifier": "union",
    "enum_specifier": "enum",
}
_C_BODIED = frozenset({"struct_specifier", "union_specifier", "enum_specifier", "class_specifier"})

LANGUAGES = (
    Language(
        "python",
        ("tree_sitter_python", "language"),
        (".py", ".pyi"),
        {"function_definition": FUNCTION, "class_definition": "class"},
        wrappers=frozenset({"decorated_definition"}),
    ),
    Language(
        "javascript",
        ("tree_sitter_javascript", "language"),
        (".js", ".mjs", ".cjs", ".jsx"),
        _JAVASCRIPT_KINDS,
        **_JAVASCRIPT,
    ),
    Language(
        "typescript",
        ("tree_sitter_typescript", "language_typescript"),
        (".ts", ".mts", ".cts"),
        _TYPESCRIPT_KINDS,
        scopes={"internal_module": "name", "module": "name"},
        **_JAVASCRIPT,
    ),
    Language(
        "tsx",
        ("tree_sitter_typescript", "language_tsx"),
        (".tsx",),
        _TYPESCRIPT_KINDS,
        scopes={"internal_module": "name", "module": "name"},
        **_JAVASCRIPT,
    ),
    Language(
        "go",
        ("tree_sitter_go", "language"),
        (".go",),
        {"function_declaration": FUNCTION, "method_declaration": METHOD, "type_spec": "type", "type_alias": "type"},
        wrappers=frozenset({"type_declaration"}),
    ),
    Language(
        "rust",
        ("tree_sitter_rust", "language"),
        (".rs",),
        {
            "function_item": FUNCTION,
            "struct_item": "struct",
            "union_item": "union",
            "enum_item": "enum",
            "trait_item": "trait",
            "macro_definition": "macro",
        },
        scopes={"impl_item": "type", "mod_item": "name"},
        separator="::",
    ),
    Language(
        "java",
        ("tree_sitter_java", "language"),
        (".java",),
        {
            "class_declaration": "class",
            "interface_declaration": "interface",
            "annotation_type_declaration": "interface",
            "enum_declaration": "enum",
            "record_declaration": "record",
            "method_declaration": METHOD,
            "constructor_declaration": METHOD,
            "compact_constructor_declaration": METHOD,
        },
    ),
    Language(
        "c",
        ("tree_sitter_c", "language"),
        (".c", ".h"),
        _C_KINDS,
        bodied=_C_BODIED,
        wrappers=frozenset({"type_definition"}),
    ),
    Language(
        "cpp",
        ("tree_sitter_cpp", "language"),
        (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
        {**_C_KINDS, "class_specifier": "class"},
        bodied=_C_BODIED,
        wrappers=frozenset({"type_definition", "template_declaration"}),
        scopes={"namespace_definition": "name"},
        separator="::",
    ),
)
_BY_NAME = {language.name: language for language in LANGUAGES}
_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
_OTHER_NAMES = {"py": "python", "js": "javascript", "ts": "typescript", "golang": "go", "rs": "rust", "c++": "cpp"}
_ONLY_CPP = re.compile(rb"^\s*(class|namespace|template|using)\b|^\s*(public|private|protected)\s*:", re.MULTILINE)


def language_of(path: str, source: bytes = b"") -> Language | None:
    """The language of a file by its name; None for a file that is of none of them.

    Args:
        path: with slashes.
        source: what the file holds: a header is C++ where it has a class, a namespace or a template.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".h" and _ONLY_CPP.search(source):
        return _BY_NAME["cpp"]
    return _BY_SUFFIX.get(suffix)


def language_names(given: Iterable[str]) -> list[str]:
    """Names of languages as `LANGUAGES` has them, for names as people write them: `C++`, `js`.

    Raises:
        InvalidRequestError: one that is not known.
    """
    names = [_OTHER_NAMES.get(name.lower(), name.lower()) for name in given]
    for name in names:
        if name not in _BY_NAME:
            near = nearest(name, _BY_NAME)
            hint = f"Did you mean '{near}'? " if near else ""
            raise InvalidRequestError(
                f"'{name}' is none of the languages that code search reads. {hint}They are {', '.join(_BY_NAME)}.",
                param="lang",
            )
    return names


@cache
def parser_of(name: str) -> "Parser":
    """The parser of a language.

    Raises:
        ConfigError: its grammar is not installed.
    """
    module, function = _BY_NAME[name].package
    try:
        import tree_sitter

        grammar = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Code search needs the package '{error.name}', which is not installed: pip install 'luthier[code]'."
        ) from None
    return tree_sitter.Parser(tree_sitter.Language(getattr(grammar, function)()))
