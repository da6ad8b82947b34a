"""What is found in source files of each language: kinds, names with scopes, lines, comments, texts."""

import sys
import textwrap
import time

import pytest

from luthier.errors import ConfigError, InvalidRequestError
from luthier.toolkit.code_definitions import MAX_TEXT, extract, top_level_functions
from luthier.toolkit.code_languages import LANGUAGES, language_names, language_of, parser_of

BY_NAME = {language.name: language for language in LANGUAGES}
SOURCES = {
    "python": (
        """
        import os

        @decorated
        class Tree:
            '''A tree.

            Of nodes.
            '''
            @property
            def depth(self):
                return 1

            class Node:
                def cut(self): pass

        # Grows it.
        # Slowly.
        async def grow(tree):
            def inner(): pass

        if True:
            def late(): "Comes late."
        """,
        [
            ("class", "Tree", 3, "A tree.\n\nOf nodes."),
            ("method", "Tree.depth", 9, ""),
            ("class", "Tree.Node", 13, ""),
            ("method", "Tree.Node.cut", 14, ""),
            ("function", "grow", 18, "Grows it.\nSlowly."),
            ("function", "late", 22, "Comes late."),
        ],
    ),
    "javascript": (
        """
        /**
         * Adds.
         */
        export const add = async (a, b) => a + b;
        class Box { size = () => 1; #open() {} }
        exports.close = function () {};
        const one = () => 1, two = () => 2;
        const handlers = { click: () => 1, focus() {} };
        it("works", () => { function helper() {} });
        """,
        [
            ("function", "add", 4, "Adds."),
            ("class", "Box", 5, ""),
            ("method", "Box.size", 5, ""),
            ("method", "Box.#open", 5, ""),
            ("function", "exports.close", 6, ""),
            ("function", "one", 7, ""),
            ("function", "two", 7, ""),
            ("function", "click", 8, ""),
            ("function", "focus", 8, ""),
            ("function", "helper", 9, ""),
        ],
    ),
    "typescript": (
        """
        // A shape.
        export abstract class Shape<T> {
          abstract area(): number;
          private name(): string { return "" }
        }
        export interface Named { name: string }
        namespace Geometry { export function turn() {} }
        enum Colour { Red }
        type Pair = [number, number];
        """,
        [
            ("class", "Shape", 2, "A shape."),
            ("method", "Shape.name", 4, ""),
            ("interface", "Named", 6, ""),
            ("function", "Geometry.turn", 7, ""),
            ("enum", "Colour", 8, ""),
            ("type", "Pair", 9, ""),
        ],
    ),
    "tsx": ("export const App = (p: { n: number }) => <b>{p.n}</b>;\n", [("function", "App", 1, "")]),
    "go": (
        """
        package a

        // Run runs.
        func (s *Server[T]) Run(n int) error { return nil }

        type (
            // Point is one.
            Point struct{ x int }
            Size  int
        )

        // Reader reads.
        type Reader interface{ Read() }

        func main() {}
        """,
        [
            ("method", "Server.Run", 4, "Run runs."),
            ("struct", "Point", 8, "Point is one."),
            ("type", "Size", 9, ""),
            ("interface", "Reader", 13, "Reader reads."),
            ("function", "main", 15, ""),
        ],
    ),
    "rust": (
        """
        /// A stack.
        #[derive(Debug)]
        pub struct Stack<T> { items: Vec<T> }
        impl<T> Stack<T> {
            /// Puts one on top.
            #[inline]
            pub fn push(&mut self, item: T) {}
        }
        trait Grows { fn grow(); fn twice() {} }
        mod deep { pub fn dive() {} }
        macro_rules! shout { () => {} }
        """,
        [
            ("struct", "Stack", 2, "A stack."),
            ("method", "Stack::push", 6, "Puts one on top."),
            ("trait", "Grows", 9, ""),
            ("method", "Grows::twice", 9, ""),
            ("function", "deep::dive", 10, ""),
            ("macro", "shout", 11, ""),
        ],
    ),
    "java": (
        """
        package a;
        /** A car. */
        @Entity public class Car {
            Car() {}
            /** Its
             *  speed. */
            @Override int speed() { return 1; }
            enum Gear { FIRST; void shift() {} }
            record Wheel(int size) {}
        }
        interface Drives { void drive(); }
        """,
        [
            ("class", "Car", 3, "A car."),
            ("method", "Car.Car", 4, ""),
            ("method", "Car.speed", 7, "Its\n speed."),
            ("enum", "Car.Gear", 8, ""),
            ("method", "Car.Gear.shift", 8, ""),
            ("record", "Car.Wheel", 9, ""),
            ("interface", "Drives", 11, ""),
            ("method", "Drives.drive", 11, ""),
        ],
    ),
    "c": (
        """
        /* Finds it. */
        static int *find(int a) { return 0; }
        struct point { int x; };
        typedef struct { int b; } pair_t;
        struct point *other(void);
        #ifdef BIG
        int big(void) { return 1; }
        #endif
        """,
        [
            ("function", "find", 2, "Finds it."),
            ("struct", "point", 3, ""),
            ("struct", "pair_t", 4, ""),
            ("function", "big", 7, ""),
        ],
    ),
    "cpp": (
        """
        namespace geo {
        // A shape.
        template <class T> class Shape : Base {
        public:
            Shape() = default;
            ~Shape() {}
            bool operator==(int) { return true; }
            int& size();
        };
        }
        int& geo::Shape::size() { return n; }
        template <typename T> T most(T a) { return a; }
        enum class Colour { Red };
        """,
        [
            ("class", "geo::Shape", 3, "A shape."),
            ("method", "geo::Shape::Shape", 5, ""),
            ("method", "geo::Shape::~Shape", 6, ""),
            ("method", "geo::Shape::operator==", 7, ""),
            ("method", "geo::Shape::size", 11, ""),
            ("function", "most", 12, ""),
            ("enum", "Colour", 13, ""),
        ],
    ),
}


def found(language, source):
    return extract(
        f"file{BY_NAME[language].suffixes[0]}", textwrap.dedent(source).lstrip("\n").encode(), BY_NAME[language]
    )


@pytest.mark.parametrize("language", SOURCES)
def test_definitions_of(language):
    source, expected = SOURCES[language]
    made = [(one.kind, one.name, one.line, one.doc) for one in found(language, source)]
    assert made == expected
    assert {one.language for one in found(language, source)} == {language}


def test_every_language_is_tested():
    assert set(SOURCES) == set(BY_NAME)


def test_a_class_shows_its_members_without_what_they_do():
    whole = {one.name: one for one in found("python", SOURCES["python"][0])}
    assert whole["Tree"].text.startswith("@decorated\nclass Tree:")
    assert "def depth(self): …" in whole["Tree"].text
    assert "return 1" not in whole["Tree"].text
    assert whole["Tree.depth"].text == "@property\ndef depth(self):\n    return 1"
    assert (whole["Tree"].line, whole["Tree"].end_line) == (3, 14)
    assert "def inner(): pass" in whole["grow"].text


def test_a_comment_belongs_only_to_what_follows_at_once():
    made = found("go", "package a\n\n// License.\n\nfunc f() {}\nvar x = 1 // of x\nfunc g() {}\n")
    assert [one.doc for one in made] == ["", ""]


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing():
    plain = "def f():\n    return 1\n\n\ndef g():\n    return 2\n"
    dressed = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()
    assert extract("a.py", dressed, BY_NAME["python"]) == extract("a.py", plain.encode(), BY_NAME["python"])


def test_what_stands_beside_broken_code_is_found():
    made = found("python", "def good():\n    return 1\n\ndef bad(:\n    ((\n\ndef fine():\n    return 2\n")
    assert "good" in [one.name for one in made]


def test_deep_nesting_and_long_texts_do_no_harm():
    deep = "x = " + "(" * 3000 + "1" + ")" * 3000 + "\ndef f(): pass\n"
    assert [one.name for one in found("python", deep)] == ["f"]
    long = "def f():\n" + "    a = 1\n" * 5000
    assert len(found("python", long)[0].text) == MAX_TEXT


def test_the_guides_extract_sees_top_level_functions_only():
    source = "def one(a,\n        b):\n    x = 1\n\n    return x\n\n\nclass A:\n    def two(self): pass\n\n\n"
    source += "def three():\n    pass\nz = 1\n"
    made = top_level_functions("a.py", source)
    assert [(one.name, one.line, one.end_line) for one in made] == [("one", 1, 5), ("three", 12, 13)]
    whole = {one.name: one.text for one in extract("a.py", source.encode(), BY_NAME["python"])}
    assert {one.name: one.text for one in made} == {name: whole[name] for name in ("one", "three")}
    assert set(whole) == {"one", "A", "A.two", "three"}


@pytest.mark.parametrize(
    ("path", "source", "name"),
    [
        ("a/b.py", b"", "python"),
        ("B.TSX", b"", "tsx"),
        ("a.h", b"struct a { int b; };", "c"),
        ("a.h", b"// x\nnamespace a {}", "cpp"),
        ("a.h", b"struct a {\n public:\n  int b;\n};", "cpp"),
        ("Makefile", b"", None),
        ("a.txt", b"", None),
    ],
)
def test_language_of(path, source, name):
    language = language_of(path, source)
    assert (language.name if language else None) == name


def test_names_of_languages_as_people_write_them():
    assert language_names(["C++", "js", "Python"]) == ["cpp", "javascript", "python"]
    with pytest.raises(InvalidRequestError, match=r"'pyhton' is none .* Did you mean 'python'"):
        language_names(["pyhton"])


def test_a_grammar_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    parser_of.cache_clear()
    with pytest.raises(ConfigError, match=r"tree_sitter_go.*luthier\[code\]"):
        parser_of("go")
    parser_of.cache_clear()


def test_thousands_of_functions_in_one_statement_take_no_time():
    source = "const a" + ",\n a".join(f"{at}=()=>{at}" for at in range(6000)) + ";"
    began = time.perf_counter()
    assert len(extract("a.js", source.encode(), language_of("a.js"))) == 6000
    assert time.perf_counter() - began < 3


@pytest.mark.parametrize("suffix", ["js", "ts", "tsx"])
def test_what_is_exported_by_default_without_a_name(suffix):
    def found(source):
        made = extract(f"a.{suffix}", source.encode(), language_of(f"a.{suffix}"))
        return [(one.kind, one.name, one.doc) for one in made]

    assert found("// Adds.\nexport default function (a, b) { return a + b }") == [("function", "default", "Adds.")]
    assert found("export default async () => 1;") == [("function", "default", "")]
    assert found("export default class extends A { go() { return 1 } }") == [
        ("class", "default", ""),
        ("method", "default.go", ""),
    ]
    assert found("const B = class { go() { return 1 } };") == [("class", "B", ""), ("method", "B.go", "")]
    assert found("export default function named() {}") == [("function", "named", "")]
    assert found("export default 5; export { a } from 'b';") == []
