"""Every notebook of examples/ runs from its first cell to its last, and is kept without outputs.

A notebook whose metadata say `"luthier": {"weights": ["text-embedding-ada-002"]}` runs with those weights and bears the
mark `weights`. Any other runs with a tiny random encoder behind every name of an embedding model.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import luthier
from luthier.config import load_settings
from luthier.testing import make_byte_vocabulary

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]
CELL_SECONDS = 240
FAKED = ("all-mpnet-base-v2", "all-minilm-l6-v2", "text-embedding-ada-002", "text-embedding-3-small")

# `!command` in IPython goes on after a command that failed; here it must not.
STRICT_SHELL = """
def _checked(command, shell=get_ipython(), run=get_ipython().system_piped):
    run(command)
    if shell.user_ns["_exit_code"]:
        raise RuntimeError(f"exit code {shell.user_ns['_exit_code']}: {command}")

get_ipython().system = _checked
"""


def weights_of(path):
    """Names of the models whose weights a notebook wants."""
    return nbformat.read(path, as_version=4).metadata.get("luthier", {}).get("weights", [])


def needs_weights(path):
    return pytest.param(path, id=path.stem, marks=[pytest.mark.weights] if weights_of(path) else [])


def environment(folder, models, aliases=None):
    """Of a kernel: our own commands come first, state lies in `folder`, no server's URL is known."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "OPENAI_"))}
    source = Path(luthier.__file__).parents[1]  # this tree's code, whatever else is installed
    return (
        kept
        | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join([str(source), kept.get("PYTHONPATH", "")]),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
            "LUTHIER_HOME": str(folder / "home"),
            "LUTHIER_MODELS": str(models),
            "MPLBACKEND": "agg",
        }
        | ({"LUTHIER_ALIASES": str(aliases)} if aliases else {})
    )


@pytest.fixture
def faked(tiny_encoder: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a notebook without weights."""
    aliases = tmp_path / "aliases.toml"
    lines = [f'"{name}" = "{tiny_encoder.as_posix()}"\n' for name in FAKED]
    aliases.write_text("[aliases]\n" + "".join(lines), encoding="utf-8")
    make_byte_vocabulary(tmp_path / "models")
    return environment(tmp_path, tmp_path / "models", aliases)


def execute(notebook, folder, env):
    """Run a notebook in a folder of its own. A cell that fails raises CellExecutionError, with its traceback."""
    (folder / "work").mkdir()
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT_SHELL))
    resources = {"metadata": {"path": str(folder / "work")}}
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, startup_timeout=CELL_SECONDS, kernel_name="python3", resources=resources
    )
    client.execute(env=env)
    return notebook


@pytest.mark.parametrize("path", [needs_weights(path) for path in NOTEBOOKS])
def test_notebook_runs(path: Path, tmp_path: Path, encoder_folder: Callable[[str], Path], request):
    if names := weights_of(path):
        for name in names:
            encoder_folder(name)  # skips the test where they cannot be had
        env = environment(tmp_path, load_settings().models_dir.resolve())
    else:
        env = request.getfixturevalue("faked")
    execute(nbformat.read(path, as_version=4), tmp_path, env)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_is_kept_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.kernelspec.name == "python3"
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert len(code) >= 2


def test_the_page_of_examples_lists_each_notebook():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"]({name})" not in page] == []


@pytest.mark.parametrize("source", ["1 / 0", "!luthier no-such-command", "!exit 3"])
def test_what_fails_in_a_cell_fails_the_test(source, tmp_path, faked):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(CellExecutionError):
        execute(notebook, tmp_path, faked)


def test_cells_and_commands_run_this_code_with_the_fake(tmp_path, faked, tiny_encoder):
    store = "from luthier.config import load_settings\nfrom luthier.modeling.bases import BaseStore\n"
    cells = [
        "import luthier; print(luthier.__file__)",
        f"{store}print(BaseStore(load_settings()).ensure('text-embedding-ada-002').path)",
        "!luthier --version",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    executed = execute(notebook, tmp_path, faked).cells[1:]
    texts = ["".join(out.text for out in cell.outputs if out.name == "stdout").strip() for cell in executed]
    assert texts == [luthier.__file__, str(tiny_encoder), f"luthier {luthier.__version__}"]
