"""The pages of docs/ that are made from the code: every command with its options, every setting.

python -m luthier.cli.reference docs
"""

import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from luthier.cli.main import app
from luthier.config import Settings

_COMMANDS = """# Commands

Made by `make docs` from the code; do not edit.

Commands that call a server find it by `--url`, else by `OPENAI_BASE_URL` or `OPENAI_API_BASE`, else at
`http://127.0.0.1:8080/v1`. An error is one line on standard error and exit code 1; a command line that makes no sense,
as one with an unknown option, gets its usage there and exit code 2. With every option, `--n_epochs`, as
the old client spelled it, is the same as `--n-epochs`. What stands under `luthier api` works without
the word `api` too.
"""

_SETTINGS = """# Settings

Made by `make docs` from the code; do not edit.

Each setting is an environment variable, read once at the start. One that Luthier does not know is an error that names
the nearest. Sizes are in bytes, times in seconds.

| variable | default | meaning |
|---|---|---|
"""


def commands_page() -> str:
    """docs/cli.md."""
    root = typer.main.get_command(app)
    return _COMMANDS + "".join(_sections(root, ["luthier"], None))


def settings_page() -> str:
    """docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else str(field.default).replace(str(Path.home()), "~")
        rows.append(f"| `LUTHIER_{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |\n")
    return _SETTINGS + "".join(rows)


def _sections(command: Any, words: list[str], parent: Any) -> list[str]:
    """A section for a command, and one for each command below it that is not hidden."""
    context = command.make_context(words[-1], [], parent=parent, resilient_parsing=True)
    pieces = " ".join(command.collect_usage_pieces(context))
    made = [f"\n## {' '.join(words)}\n\n{_clean(command.help)}\n\n```\n{' '.join(words)} {pieces}\n```\n"]
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if records:
        made.append("\n| | |\n|---|---|\n")
        made += [f"| `{name.replace('|', chr(92) + '|')}` | {_clean(text)} |\n" for name, text in records]
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                made += _sections(below, [*words, name], context)
    return made


def _clean(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main(folder: Path) -> None:
    """Write the pages into `folder`."""
    for name, page in {"cli.md": commands_page(), "settings.md": settings_page()}.items():
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
