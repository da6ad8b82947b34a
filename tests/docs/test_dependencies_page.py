"""docs/dependencies.md and constraints.txt follow pyproject.toml."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    more = [name for name in project["dependency-groups"]["dev"] if name not in extras]
    return [name.partition(";")[0] for name in [*project["project"]["dependencies"], *extras, *more]]


def test_each_dependency_has_a_reason_and_a_licence():
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert sorted(name for name, *_ in rows if name not in ("package", "---")) == sorted(declared())


def test_each_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    assert [name for name in declared() if name.lower().partition("[")[0] not in pinned] == []
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert "torch==2.13.0" in lines
