"""Which files of a repository count, and why others do not."""

import re
import subprocess

import pytest

from luthier.errors import DataError
from luthier.toolkit.code_files import MAX_BYTES, MAX_LINE, Skipped, list_files, read_source


@pytest.fixture
def tree(tmp_path):
    """A folder with sources, and with what should not count."""
    for path in (
        "a.py",
        "src/b.go",
        "src/deep/c.rs",
        "notes.txt",
        ".hidden/d.py",
        "node_modules/e.js",
        "env/f.py",
        "made/g.py",
        "src/h_gen.py",
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")
    (tmp_path / "env/pyvenv.cfg").write_text("")
    (tmp_path / ".gitignore").write_text("/made/\n")
    (tmp_path / "src/.gitignore").write_text("*_gen.py\n")
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    return tmp_path


def test_without_git_hidden_vendored_and_ignored_folders_are_left_out(tree):
    assert list_files(tree) == ["a.py", "src/b.go", "src/deep/c.rs"]


@pytest.mark.parametrize("line", ["!", "\\"])
def test_a_line_that_is_no_pattern_is_passed_over_as_git_does(tree, line):
    (tree / ".gitignore").write_text(f"{line}\n/made/\n")
    assert list_files(tree) == ["a.py", "src/b.go", "src/deep/c.rs"]


def test_with_git_its_own_word_counts(tree):
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    (tree / ".git/info/exclude").write_text("src/deep/\n")
    assert list_files(tree) == [".hidden/d.py", "a.py", "env/f.py", "node_modules/e.js", "src/b.go"]
    assert list_files(tree / "src") == ["b.go"]
    subprocess.run(["git", "-C", str(tree), "add", "-f", "made/g.py", "a.py"], check=True)
    (tree / "a.py").unlink()  # tracked, and gone
    assert "made/g.py" in list_files(tree)
    assert "a.py" not in list_files(tree)


def test_a_folder_that_a_checkout_around_it_ignores_is_read_all_the_same(tree):
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    assert list_files(tree / "made") == ["g.py"]


def test_exclude_takes_patterns_of_gitignore(tree):
    assert list_files(tree, ["src/"]) == ["a.py"]
    assert list_files(tree, ["*.rs"]) == ["a.py", "src/b.go"]
    with pytest.raises(DataError, match="--exclude"):
        list_files(tree, ["!"])


def test_a_folder_is_asked_for(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        list_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = 1\0", "binary"),
        (b"# caf\xe9\n", "not UTF-8 \\(byte 5\\)"),
        (b"x" * (MAX_BYTES + 1), "bytes, more than"),
        (b"x" * (MAX_LINE + 1), "minified"),
    ],
)
def test_files_that_are_not_read_say_why(tmp_path, content, reason):
    (tmp_path / "a.py").write_bytes(content)
    read = read_source(tmp_path, "a.py")
    assert isinstance(read, Skipped)
    assert re.search(reason, read.reason)


def test_an_empty_file_and_one_that_is_gone(tmp_path):
    (tmp_path / "a.py").write_bytes(b"")
    assert read_source(tmp_path, "a.py").source == b""
    assert "cannot be read" in read_source(tmp_path, "b.py").reason
