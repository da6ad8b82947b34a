"""Files that take their names once they are whole."""

import os
from pathlib import Path

import pytest

from luthier.durable import check_target, whole_file
from luthier.errors import DataError


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")
    path.chmod(0o600)
    with whole_file(path) as file:
        assert file.suffix == ".csv"
        file.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("error", [OSError(27, "File too large"), OSError("Error writing bytes"), KeyError("column")])
def test_what_fails_leaves_what_was_there(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")

    def write_half() -> None:
        with whole_file(path) as file:
            file.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(path)
        assert caught.value.strerror == (error.strerror if isinstance(error, OSError) else None) or str(error)
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs links")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("before")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "there.txt")
    with whole_file(link) as file:
        file.write_text("after")
    assert link.is_symlink()
    assert (tmp_path / "there.txt").read_text() == "after"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device")
def test_a_device_is_written_as_it_is() -> None:
    check_target(Path("/dev/null"))
    with whole_file(Path("/dev/null")) as file:
        file.write_text("gone")


def test_targets_are_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_target(tmp_path / "new.csv")
    with pytest.raises(DataError, match="is a folder"):
        check_target(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        check_target(tmp_path / "none" / "new.csv")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match="cannot be written to"):
        check_target(tmp_path / "new.csv")
