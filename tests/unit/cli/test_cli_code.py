"""`luthier code`: its words, its JSON, and where it finds an index."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

from luthier.cli import frames
from luthier.cli.main import app
from luthier.errors import LuthierError


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """(model, url) of each embedder that was opened. It embeds by the letters of a text."""
    opened = []

    @contextmanager
    def embedder(model, url=None):
        opened.append((model, url))
        letters = "abcdefghijklmnopqrstuvwxyz"
        yield lambda texts: np.array([[1 + text.count(one) for one in letters] for text in texts], dtype=np.float32)

    monkeypatch.setattr(frames, "embedder", embedder)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return opened


@pytest.fixture
def repo(tmp_path, monkeypatch):
    root = tmp_path / "repo"
    (root / "deep").mkdir(parents=True)
    (root / "zip.py").write_text("def zipzip():\n    '''Zips.'''\n    return 'zzz'\n")
    (root / "deep/mom.go").write_text("package m\nfunc Mom() {}\n")
    monkeypatch.chdir(root / "deep")
    return root


def luthier(*words):
    result = CliRunner().invoke(app, ["code", *map(str, words)])
    if isinstance(result.exception, LuthierError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_index_then_search_from_a_folder_below(repo, asked):
    said = luthier("index", repo, "-m", "code-search-ada-code-001").stdout
    assert "2 definitions in 2 files (" in said
    assert "2 new, 0 changed, 0 deleted, 0 as before; 2 definitions embedded" in said
    found = luthier("search", "zip zip zip", "-k", 1, "--lines", 1)
    assert found.stdout.splitlines()[1:3] == ["    def zipzip():", "    … 2 more lines"]
    assert found.stdout.startswith("zip.py:1  function zipzip  (similarity 0.")
    assert asked == [("code-search-ada-code-001", None), ("code-search-ada-text-001", None)]


def test_json_and_what_has_changed(repo, asked):
    made = json.loads(luthier("index", repo, "--exclude", "*.go", "--json", "--url", "http://x/v1").stdout)
    assert (made["definitions"], made["embedded"], made["root"]) == (1, 1, str(repo))
    (repo / "zip.py").write_text("def other(): pass\n")
    found = json.loads(luthier("search", "zip", "--repo", repo, "--json", "--no-words").stdout)
    assert (found["searched"], found["words"], found["stale"]) == (1, False, ["zip.py"])
    hit = found["hits"][0]
    assert {name: hit[name] for name in ("rank", "path", "line", "end_line", "language", "kind", "name", "doc")} == {
        "rank": 1,
        "path": "zip.py",
        "line": 1,
        "end_line": 3,
        "language": "python",
        "kind": "function",
        "name": "zipzip",
        "doc": "Zips.",
    }
    told = luthier("search", "zip", "--repo", repo)
    assert "1 file has changed since the index was made" in told.stderr
    assert asked[0] == ("text-embedding-ada-002", "http://x/v1")


def test_drop_deletes_the_index_and_nothing_else(repo, asked):
    luthier("index", repo)
    assert "Deleted" in luthier("drop", "--repo", repo).stdout
    assert (repo / "zip.py").exists()
    with pytest.raises(LuthierError, match=r"has no index of its code. Make one: luthier code index"):
        luthier("search", "zip", "--repo", repo)
    with pytest.raises(LuthierError, match="nor a folder above it has an index"):
        luthier("search", "zip")
    assert len(asked) == 1


def test_a_long_list_of_skipped_files_is_shortened(repo, asked):
    for at in range(7):
        (repo / f"b{at}.py").write_bytes(b"\0")
    said = luthier("index", repo).stdout
    assert said.count("is binary") == 5
    assert "skipped: 2 more" in said
    assert asked
