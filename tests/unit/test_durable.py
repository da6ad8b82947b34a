"""What is brought to the disk before anybody is told that it is there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.config import Settings
from luthier.executors import finish
from luthier.storage.blobs import Blobs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows opens no folders")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bool]:
    """Whether a file or folder was brought to the disk, under this name or one before."""
    seen: set[int] = set()
    real = os.fsync

    def fsync(handle: int) -> None:
        seen.add(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return lambda path: path.stat().st_ino in seen


def test_a_file_and_its_name(settings: Settings, synced: Callable[[Path], bool]) -> None:
    Blobs(settings).save("file-1", [b"text"], max_bytes=10)
    assert synced(settings.blobs_dir / "file-1")
    assert synced(settings.blobs_dir)


def test_a_tuned_model(settings: Settings, tmp_path: Path, synced: Callable[[Path], bool]) -> None:
    made = tmp_path / "epoch-1"
    (made / "inner").mkdir(parents=True)
    (made / "weights").write_bytes(b"1")
    (made / "inner" / "card").write_bytes(b"2")
    kept = settings.tuned_dir / "ft-1"
    assert finish._keep(made, kept) == "ft-1"
    assert (kept / "inner" / "card").read_bytes() == b"2"
    assert all(map(synced, [settings.tuned_dir, kept, *kept.rglob("*")]))
    assert list(settings.tuned_dir.iterdir()) == [kept]
