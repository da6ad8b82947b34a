"""The environment of a trainer."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
@pytest.mark.parametrize("preload", ["/opt/own.so", ""])
def test_what_the_server_was_told_of_memory_and_threads_stays(settings: Settings, preload: str) -> None:
    tunables = "glibc.malloc.mmap_threshold=5:glibc.malloc.trim_threshold=6:a=1"
    given = {"LD_PRELOAD": preload, "OMP_WAIT_POLICY": "ACTIVE", "GLIBC_TUNABLES": tunables}
    made = worker_environment(settings, given)
    assert {name: made[name] for name in given} == given
    added = worker_environment(settings, {"GLIBC_TUNABLES": "a=1"})["GLIBC_TUNABLES"].split(":")
    assert {"a=1", "glibc.malloc.mmap_threshold=1048576"} <= set(added)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], str | None]]:
    """What is taken of these libraries, by their short names, on a Linux where every one of them loads."""

    def searched(there: dict[str, str]) -> str | None:
        installed_allocator.cache_clear()
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(environment, "find_library", there.get)
        return installed_allocator()

    monkeypatch.setattr(environment, "_loads", lambda library: library != "broken.so")
    yield searched
    installed_allocator.cache_clear()


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({}, None),
        ({"tcmalloc": "t.so", "mimalloc": "m.so"}, "m.so"),
        ({"tcmalloc": "t.so", "jemalloc": "j.so"}, "j.so"),
        ({"tcmalloc": "t.so", "jemalloc": "broken.so"}, "t.so"),
        ({"jemalloc": "broken.so"}, None),
    ],
)
def test_the_first_that_loads_is_taken(
    search: Callable[[dict[str, str]], str | None], there: dict[str, str], taken: str | None
) -> None:
    assert search(there) == taken


def test_no_other_system_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_allocator.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(environment, "find_library", lambda name: name)
    assert installed_allocator() is None
    installed_allocator.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")
def test_what_cannot_be_preloaded_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "libother.so").write_bytes(b"no library")
    assert not environment._loads(str(tmp_path / "libother.so"))
    assert not environment._loads(str(tmp_path / "nowhere.so"))
    assert environment._loads("")


def test_a_process_computes_with_what_is_installed(settings: Settings) -> None:
    allocator = installed_allocator()
    if allocator is None:
        pytest.skip("no allocator but the C library's on this machine")
    code = "import torch; torch.ones(9); print(open('/proc/self/maps').read())"
    given = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    made = worker_environment(settings, given)
    ran = subprocess.run([sys.executable, "-c", code], env=made, capture_output=True, text=True, check=True)
    assert allocator.split(".so")[0] in ran.stdout
    assert "ld.so" not in ran.stderr
