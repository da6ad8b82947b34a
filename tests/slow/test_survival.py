"""Jobs survive `kill -9` of the server, of the trainer, and of both, and come to the same result."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pandas as pd
import psutil
import pytest

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Hyperparameters
from luthier.domain.job import Dialect, Job, Status
from luthier.modeling.lora import PEFT_WEIGHTS
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore
from luthier.storage.models import TunedModelStore

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")

_SECONDS = 120.0
_ROWS, _EPOCHS = 24, 4
_SERVER = """
import sys, time
from luthier.config import load_settings
from luthier.executors.local import LocalExecutor
from luthier.storage.db import Database
from luthier.storage.jobs import JobStore
settings = load_settings()
LocalExecutor(settings, JobStore(Database.open(settings))).start()
time.sleep(3600)
"""
# Put before everything else in the trainer: it dies once, as soon as it has begun to copy a model to its place.
_DIES_WHILE_COPYING = """
import os, shutil, signal, sys
from pathlib import Path
done = Path(__file__).with_name("died")
real = shutil.copytree
def copytree(*args, **kwargs):
    real(*args, **kwargs)
    if not done.exists():
        done.touch()
        os.kill(os.getpid(), signal.SIGKILL)
shutil.copytree = copytree
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_base):
    """The adapter and the table of a run that nothing disturbs."""
    home = House(tmp_path_factory.mktemp("undisturbed"), tiny_base)
    job = home.add_job()
    with home.server():
        home.until(lambda: home.job(job).status.is_final)
    assert home.job(job).status is Status.SUCCEEDED
    return home.adapter(job), home.table(job)


@pytest.fixture
def house(tmp_path, tiny_base):
    return House(tmp_path, tiny_base)


class House:
    """A home with one training file, and servers that come and go."""

    def __init__(self, folder, tiny_base):
        self.settings = Settings(home=folder / "home", progress_seconds=0.2)
        self.extra = folder / "extra"  # on the path of every process that is started
        self.extra.mkdir()
        self._base = tiny_base
        database = Database.open(self.settings)
        self.jobs, self.models = JobStore(database), TunedModelStore(database)
        rows = [{"prompt": f"row {n} ->", "completion": " yes" if n % 3 else " no"} for n in range(_ROWS)]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        Blobs(self.settings).save("file-rows", [content], len(content))
        self.files = FileStore(database)
        self.files.create(File("file-rows", "r.jsonl", Purpose.FINE_TUNE, len(content), 0, FileStatus.PROCESSED))

    def add_job(self, job_id="ft-aaaaaaaaaaaaaaaaaaaaaaaa"):
        hp = Hyperparameters(n_epochs=_EPOCHS, batch_size=1, seed=5)
        job = Job(job_id, Dialect.LEGACY, Status.QUEUED, str(self._base), hp, "file-rows", 0, 0, "file-rows")
        return self.jobs.create(job).id

    def job(self, job_id):
        return self.jobs.get(job_id)

    def messages(self, job_id):
        return [event.message for event in self.jobs.events(job_id).items]

    def adapter(self, job_id):
        return (self.settings.tuned_dir / job_id / PEFT_WEIGHTS).read_bytes()

    def table(self, job_id):
        return pd.read_csv(Blobs(self.settings).path(self.job(job_id).result_file))

    @contextmanager
    def server(self):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LUTHIER_")},
            "LUTHIER_HOME": str(self.settings.home),
            "LUTHIER_PROGRESS_SECONDS": "0.2",
            "PYTHONPATH": str(self.extra),
        }
        server = subprocess.Popen([sys.executable, "-c", _SERVER], env=environment)
        try:
            yield psutil.Process(server.pid)
        finally:
            server.kill()
            server.wait()

    def trainer(self, server):
        found = []

        def look():
            for child in server.children():
                with suppress(psutil.Error):  # one that ended meanwhile: the server tries an allocator in a child
                    if "luthier.executors.worker" in child.cmdline():
                        found.append(child)
            return found

        self.until(look)
        return found[0]

    def until(self, condition):
        end = time.monotonic() + _SECONDS
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(log.read_text() for log in self.settings.runs_dir.glob("*/worker.log"))
                pytest.fail(f"it takes too long; the trainers' logs:\n{logs}")
            time.sleep(0.01)


def assert_same_result(house, job, undisturbed):
    done = house.job(job)
    assert done.status is Status.SUCCEEDED, done.error
    told = house.messages(job)
    for epoch in range(1, _EPOCHS + 1):
        assert told.count(f"Completed epoch {epoch}/{_EPOCHS}") == 1
    assert told.count("Fine-tune started") == 1
    assert told.count("Fine-tune succeeded") == 1
    adapter, table = undisturbed
    assert list(house.table(job)["step"]) == list(range(1, _EPOCHS * _ROWS + 1))
    pd.testing.assert_frame_equal(house.table(job), table, check_exact=True)
    assert house.adapter(job) == adapter
    assert len(house.models.list(job_id=job)) == _EPOCHS
    assert len(house.files.list(purpose=Purpose.RESULTS).items) == 1


@pytest.mark.parametrize("victims", ["both", "server", "trainer"])
def test_a_kill_after_the_second_epoch_changes_nothing(house, undisturbed, victims):
    job = house.add_job()
    with house.server() as server:
        house.until(lambda: f"Completed epoch 2/{_EPOCHS}" in house.messages(job))
        trainer = house.trainer(server)
        if victims != "trainer":
            server.kill()
        if victims != "server":
            trainer.kill()
        if victims == "trainer":  # the server goes on and takes the job up again by itself
            house.until(lambda: house.job(job).status.is_final)
    assert house.job(job).status is (Status.SUCCEEDED if victims == "trainer" else Status.RUNNING)
    with house.server():
        house.until(lambda: house.job(job).status.is_final)
    assert_same_result(house, job, undisturbed)


def test_a_trainer_killed_before_any_checkpoint_fails_its_job_alone(house):
    first, second = house.add_job(), house.add_job("ft-bbbbbbbbbbbbbbbbbbbbbbbb")
    with house.server() as server:
        house.trainer(server).kill()
        house.until(lambda: house.job(first).status.is_final)
        house.until(lambda: house.job(second).status.is_final)
        assert server.is_running()
    assert house.job(first).status is Status.FAILED
    assert "ended by the system (signal 9), most likely for lack of memory" in house.job(first).error
    assert house.job(second).status is Status.SUCCEEDED


def test_a_trainer_killed_while_it_keeps_its_model_is_made_good(house, undisturbed):
    (house.extra / "sitecustomize.py").write_text(_DIES_WHILE_COPYING, encoding="utf-8")
    job = house.add_job()
    with house.server():
        house.until(lambda: house.job(job).status.is_final)
    assert (house.extra / "died").exists()
    assert any(f"(signal {signal.SIGKILL.value})" in message for message in house.messages(job))
    assert_same_result(house, job, undisturbed)
    assert not list(house.settings.tuned_dir.glob(".*"))
