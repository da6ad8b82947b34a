"""The program as a whole: what it starts with, how it tells errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.cli import main, serve
from luthier.errors import ConfigError

_SLOW = {
    "torch",
    "transformers",
    "pandas",
    "numpy",
    "httpx",
    "fastapi",
    "pydantic_settings",
    "sqlalchemy",
    "matplotlib",
}


def test_help_loads_nothing_slow():
    code = f"import sys, luthier.cli.main; print(sorted({_SLOW!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run(*words, **environment):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "luthier.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_no_server_is_one_line_and_exit_code_1():
    with socket.socket() as probe:  # bound, not listening: nobody answers there
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        done = run("jobs", OPENAI_BASE_URL=url)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"Error: No server answers at {url}. Start one in another terminal with `luthier serve`, or name another one "
        "with --url or OPENAI_BASE_URL."
    ]


def test_a_fault_of_ours_is_one_line_too_and_its_trace_a_file(monkeypatch, capsys):
    def fail(_):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(sys, "argv", ["luthier", "jobs"])
    monkeypatch.setattr(main.fine_tunes, "spread_betas", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert told.startswith("Error: ZeroDivisionError: of all things. This is a fault in Luthier")
    trace = Path(told.split()[-1])
    assert "Traceback" in trace.read_text(encoding="utf-8")
    trace.unlink()


def test_a_port_in_use_is_told_with_a_way_out(luthier):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = luthier("serve", "--port", str(port))
    assert isinstance(result.exception, ConfigError)
    assert f"Cannot listen at 127.0.0.1:{port}" in str(result.exception)
    assert "--port" in str(result.exception)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match=r"no address|Cannot listen"):
        serve._listen("203.0.113.7", 0)
