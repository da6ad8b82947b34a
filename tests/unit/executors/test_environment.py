"""The environment of a trainer."""

import subprocess
import sys

import pytest

from luthier.config import Settings, load_settings
from luthier.executors import environment
from luthier.executors.environment import installed_allocator, worker_environment


@pytest.fixture(params=[None, "libjemalloc.so.2"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """An allocator on this machine, or none."""
    monkeypatch.setattr(environment, "installed_allocator", lambda: request.param)
    found: str | None = request.param
    return found


def test_the_trainer_gets_these_very_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, installed: str | None
) -> None:
    settings = settings.model_copy(update={"import_hosts": ("example.com", "10.0.0.0/8")})
    made = worker_environment(settings, {"PATH": "/bin", "LUTHIER_HOME": "/other"})
    assert (made["PATH"], made.get("LD_PRELOAD")) == ("/bin", installed)
    for name, value in made.items():
        if name.startswith("LUTHIER_"):
            monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.usefixtures("installed")
def test_what_the_server_was_told_of_memory_and_threads_stays(settings: Settings) -> None:
    given = {
        "LD_PRELOAD": "/opt/own.so",
        "OMP_WAIT_POLICY": "ACTIVE",
        "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=5:a=1",
    }
    made = worker_environment(settings, given)
    assert {name: made[name] for name in given} == given
    added = worker_environment(settings, {"GLIBC_TUNABLES": "a=1"})["GLIBC_TUNABLES"]
    assert set(added.split(":")) == {"a=1", "glibc.malloc.mmap_threshold=1048576"}


@pytest.mark.parametrize(
    ("there", "taken"),
    [([], None), (["tcmalloc", "mimalloc"], "libmimalloc.so"), (["tcmalloc", "jemalloc"], "libjemalloc.so")],
)
def test_the_best_allocator_is_taken(monkeypatch: pytest.MonkeyPatch, there: list[str], taken: str | None) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(environment, "find_library", lambda name: f"lib{name}.so" if name in there else None)
    assert installed_allocator() == taken


def test_no_other_system_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(environment, "find_library", lambda name: name)
    assert installed_allocator() is None


def test_it_is_the_one_that_a_process_computes_with(settings: Settings) -> None:
    allocator = installed_allocator()
    if allocator is None:
        pytest.skip("no allocator but the C library's on this machine")
    code = "import torch; torch.ones(9); print(open('/proc/self/maps').read())"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=worker_environment(settings, {}), capture_output=True, text=True, check=True
    )
    assert (allocator.split(".so")[0] in ran.stdout, ran.stderr) == (True, "")
