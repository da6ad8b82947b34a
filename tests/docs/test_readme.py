"""The README's commands exist, with the options it shows, and its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from luthier.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
LINES = [
    line.removeprefix(".venv/bin/")
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.removeprefix(".venv/bin/").startswith("luthier ")
]


def test_there_are_commands_to_check():
    assert len(LINES) >= 5


@pytest.mark.parametrize("line", LINES)
def test_command_and_options_exist(line):
    _, *words = shlex.split(line)
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.replace("_", "-") for word in words if word.startswith("-")} <= {
        name.replace("_", "-") for name in known
    }


@pytest.mark.parametrize("target", re.findall(r"make (\w+)", README))
def test_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
