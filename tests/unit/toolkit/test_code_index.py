"""The index of code: what is embedded again, what leaves, what an interruption keeps; and searching it."""

import hashlib

import numpy as np
import pytest
from filelock import FileLock

from luthier.errors import ConflictError, DataError, InvalidRequestError, NotFoundError
from luthier.toolkit import code_index
from luthier.toolkit.code_index import CodeIndex, embedded_text, folder_of, update_index
from luthier.toolkit.code_search import query_model, search_code, split_names


class Words:
    """A fake model: a text's embedding counts its words, hashed into 64 places. Keeps what it was asked."""

    def __init__(self, width=64):
        self.width = width
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in split_names(text).lower().replace("(", " ").replace(":", " ").split():
                vectors[row, int(hashlib.md5(word.encode()).hexdigest(), 16) % self.width] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def repo(tmp_path):
    root = tmp_path / "repo"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg/net.py").write_text('def fetchPage(url):\n    """Download a page, trying again."""\n    return url\n')
    (root / "pkg/math.go").write_text("package m\n\n// Median of numbers.\nfunc Median(x []int) int { return 0 }\n")
    (root / "tree.py").write_text("class Tree:\n    def grow(self):\n        return 1\n")
    return root


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


def test_only_what_changed_is_embedded_again(repo, folder):
    embed = Words()
    first = update_index(repo, folder, embed, "m")
    assert (first.files, first.definitions, first.new, first.embedded) == (3, 4, 3, 4)
    assert first.languages == {"python": 3, "go": 1}

    embed.asked.clear()
    again = update_index(repo, folder, embed, "m")
    assert (again.unchanged, again.embedded, embed.asked) == (3, 0, [])

    (repo / "tree.py").write_text("\n\nclass Tree:\n    def grow(self):\n        return 2\n")
    (repo / "pkg/math.go").unlink()
    (repo / "new.rs").write_text("fn fresh() {}\n")
    third = update_index(repo, folder, embed, "m")
    assert (third.new, third.changed, third.deleted, third.unchanged) == (1, 1, 1, 1)
    assert sorted(text.splitlines()[0] for text in embed.asked) == ["new.rs function fresh", "tree.py method Tree.grow"]

    read = CodeIndex.read(folder)
    assert [(one.path, one.name, one.line) for one in read.definitions] == [
        ("new.rs", "fresh", 1),
        ("pkg/net.py", "fetchPage", 1),
        ("tree.py", "Tree", 3),
        ("tree.py", "Tree.grow", 4),
    ]
    whole = Words()([embedded_text(one) for one in read.definitions])
    np.testing.assert_array_equal(read.vectors, whole)


def test_indexing_that_was_interrupted_goes_on(repo, folder, monkeypatch):
    monkeypatch.setattr(code_index, "_AT_ONCE", 1)
    embed = Words()

    def breaks(texts):
        if len(embed.asked) == 3:
            raise KeyboardInterrupt
        return embed(texts)

    with pytest.raises(KeyboardInterrupt):
        update_index(repo, folder, breaks, "m")
    with pytest.raises(NotFoundError):
        CodeIndex.read(folder)
    done = update_index(repo, folder, embed, "m")
    assert (done.definitions, done.embedded, len(embed.asked)) == (4, 1, 4)
    assert not (folder / "parts").exists()
    np.testing.assert_array_equal(
        CodeIndex.read(folder).vectors, Words()([embedded_text(one) for one in CodeIndex.read(folder).definitions])
    )


def test_half_a_part_is_thrown_away(repo, folder):
    (folder / "parts").mkdir(parents=True)
    (folder / "parts/000000.parquet").write_bytes(b"PAR1 and then the power went")
    assert update_index(repo, folder, Words(), "m").embedded == 4


def test_another_model_embeds_everything_again(repo, folder):
    update_index(repo, folder, Words(), "m")
    assert update_index(repo, folder, Words(), "n").embedded == 4
    wider = update_index(repo, folder, Words(32), "n")
    assert wider.embedded == 0  # nothing to embed, nothing to notice
    (repo / "tree.py").write_text("def leaf(): pass\n")
    assert update_index(repo, folder, Words(32), "n").embedded == 3
    assert CodeIndex.read(folder).vectors.shape == (3, 32)


@pytest.mark.parametrize(
    "vectors", [np.zeros((1, 3), np.float32), np.zeros(4, np.float32), np.full((4, 3), np.nan, np.float32)]
)
def test_embeddings_that_make_no_sense_are_refused(repo, folder, vectors):
    with pytest.raises(DataError, match=r"gave an array of shape .* for 4 texts"):
        update_index(repo, folder, lambda _: vectors, "m")
    assert not (folder / "index.parquet").exists()


def test_a_repository_without_code(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file of source"):
        update_index(tmp_path / "empty", folder, Words(), "m")
    assert not folder.exists()
    (tmp_path / "empty/a.py").write_text("x = 1\n")
    with pytest.raises(DataError, match="1 files of source define nothing"):
        update_index(tmp_path / "empty", folder, Words(), "m")


def test_two_do_not_index_at_once(repo, folder):
    folder.mkdir()
    with FileLock(folder / "lock"), pytest.raises(ConflictError, match="Another process"):
        update_index(repo, folder, Words(), "m")


def test_a_damaged_index_says_so_and_is_made_anew(repo, folder):
    update_index(repo, folder, Words(), "m")
    (folder / "index.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="Delete it"):
        CodeIndex.read(folder)
    assert update_index(repo, folder, Words(), "m").embedded == 4


def test_skipped_files_are_named(repo, folder):
    (repo / "blob.py").write_bytes(b"\0\0")
    done = update_index(repo, folder, Words(), "m")
    assert done.as_dict()["skipped"] == [{"path": "blob.py", "reason": "is binary"}]


def test_what_has_changed_since_is_told(repo, folder):
    update_index(repo, folder, Words(), "m", exclude=["tree.py"])
    index = CodeIndex.read(folder)
    assert index.stale() == []
    (repo / "pkg/net.py").touch()
    assert index.stale() == []
    (repo / "pkg/net.py").write_text("def other(): pass\n")
    (repo / "pkg/math.go").unlink()
    (repo / "new.py").write_text("def new(): pass\n")
    (repo / "tree.py").write_text("")
    assert index.stale() == ["new.py", "pkg/math.go", "pkg/net.py"]


def test_the_index_is_a_frame_too(repo, folder):
    from luthier.toolkit.frame import read_frame

    update_index(repo, folder, Words(), "m")
    frame = read_frame(folder / "index.parquet")
    assert frame.vectors.shape == (4, 64)
    assert list(frame.column("kind")) == ["function", "function", "class", "method"]


def test_each_repository_has_its_own_folder(tmp_path):
    homes = {folder_of(tmp_path / name, tmp_path) for name in ("a/x", "b/x", "a/../a/x")}
    assert len(homes) == 2


@pytest.fixture
def index(repo, folder):
    update_index(repo, folder, Words(), "m")
    return CodeIndex.read(folder)


@pytest.mark.parametrize("words", [True, False])
def test_the_nearest_definition_comes_first(index, words):
    found = search_code(index, "download a page trying again", Words(), k=2, words=words)
    assert found.hits[0].definition.name == "fetchPage"
    assert (found.searched, len(found.hits), found.words) == (4, 2, words)
    hit = found.as_dict(n_lines=1)["hits"][0]
    assert (hit["path"], hit["line"], hit["rank"]) == ("pkg/net.py", 1, 1)
    assert hit["snippet"] == "def fetchPage(url):\n… 2 more lines"


def test_words_find_parts_of_names(index):
    flat = lambda texts: np.ones((len(texts), 64), np.float32) / 8  # noqa: E731 — a model that knows nothing
    found = search_code(index, "grow", flat, k=1)
    assert found.hits[0].definition.name in ("Tree.grow", "Tree")
    assert search_code(index, "page", flat, k=1).hits[0].definition.name == "fetchPage"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"languages": ["go"]}, {"Median"}),
        ({"languages": ["Py"]}, {"fetchPage", "Tree", "Tree.grow"}),
        ({"paths": ["pkg/"]}, {"fetchPage", "Median"}),
        ({"paths": ["*.go", "tree.py"], "kinds": ["function", "method"]}, {"Median", "Tree.grow"}),
    ],
)
def test_filters(index, filters, names):
    found = search_code(index, "anything", Words(), k=9, **filters)
    assert {hit.definition.name for hit in found.hits} == names


@pytest.mark.parametrize(
    ("query", "options", "says"),
    [
        ("  ", {}, "The question is empty"),
        ("a", {"k": 0}, "at least 1"),
        ("a", {"languages": ["rust"]}, "--lang rust: the index has go, python only"),
        ("a", {"kinds": ["enum"]}, "--kind enum: the index has class, function, method only"),
        ("a", {"paths": ["nowhere/"]}, "--path nowhere/: nothing of the 4 definitions"),
        ("a", {"languages": ["cobol"]}, "none of the languages"),
        ("a", {"paths": ["*.go"], "kinds": ["class"]}, "All filters together"),
    ],
)
def test_bad_questions(index, query, options, says):
    with pytest.raises((DataError, InvalidRequestError), match=says.replace("(", r"\(")):
        search_code(index, query, Words(), **options)


def test_a_question_by_another_model_is_refused(index):
    with pytest.raises(DataError, match="32"):
        search_code(index, "a", Words(32))


def test_names_are_taken_apart():
    assert split_names("getHTTPUserName2(x_y)") == "getHTTPUserName2 get HTTP User Name 2(x_y x y)"
    assert split_names("plain words") == "plain words"


@pytest.mark.parametrize(
    ("model", "asks"),
    [
        ("code-search-ada-code-001", "code-search-ada-text-001"),
        ("babbage-code-search-code", "babbage-code-search-text"),
        ("text-embedding-ada-002", "text-embedding-ada-002"),
    ],
)
def test_models_in_pairs(model, asks):
    assert query_model(model) == asks
