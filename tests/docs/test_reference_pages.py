"""The pages of docs/ that are made from the code are those of this code, and leave nothing out."""

from pathlib import Path

import pytest

from luthier.cli import reference
from luthier.config import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("name", "page"), [("cli.md", reference.commands_page), ("settings.md", reference.settings_page)]
)
def test_page_is_what_make_docs_writes(name, page):
    assert (DOCS / name).read_text(encoding="utf-8") == page(), "run `make docs`"


def test_every_command_and_option_says_what_it_does():
    rows = [line for line in reference.commands_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("` |  |")] == []
    sections = reference.commands_page().split("\n## ")[1:]
    assert [section.splitlines()[0] for section in sections if not section.splitlines()[2]] == []


def test_every_setting_says_what_it_is():
    page = reference.settings_page()
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"`LUTHIER_{name.upper()}`" in page
