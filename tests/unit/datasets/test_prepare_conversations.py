"""Preparing chat and preference examples."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.datasets.checks.context import LengthLimit, Task
from luthier.datasets.findings import Finding, Force, Remedy, Severity
from luthier.datasets.formats import read_source
from luthier.datasets.prepare import Mended, advise, mend, write_prepared
from luthier.datasets.validate import check_training_file
from luthier.modeling.chat_template import ChatTemplate
from luthier.testing import ByteTokenizer
from luthier.testing.chat import PLAIN_CHAT


class Yes:
    def show(self, findings: Sequence[Finding]) -> None:
        pass

    def announce(self, remedy: Remedy) -> None:
        pass

    def confirm(self, remedy: Remedy) -> bool:
        return remedy.force is Force.RECOMMENDED


def chat(asked: str, answer: str = "yo", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], **more}


def preference(asked: str, good: str, bad: str) -> dict[str, Any]:
    outputs = [[{"role": "assistant", "content": text}] for text in (good, bad)]
    return {
        "input": {"messages": [{"role": "user", "content": asked}]},
        "preferred_output": outputs[0],
        "non_preferred_output": outputs[1],
    }


def prepared(path: Path, values: Sequence[Any], *, tokens: int = 100, **more: Any) -> Mended:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    settings: dict[str, Any] = {"template": ChatTemplate(PLAIN_CHAT, {}), **more}
    return mend(read_source(path), ByteTokenizer(), Yes(), limit=LengthLimit(tokens, None), **settings)


def codes(found: Mended) -> list[str]:
    return [finding.code for finding in found.findings]


def test_a_good_chat_file_has_nothing_to_mend(tmp_path: Path) -> None:
    found = prepared(tmp_path / "a.jsonl", [chat(f"question {n}") for n in range(100)])
    assert codes(found) == ["examples", "task"]
    assert not found.applied
    advice = advise(
        found.frame,
        train_path=tmp_path / "a.jsonl",
        valid_path=None,
        model="ada",
        counter=found.counter,
        template=ChatTemplate(PLAIN_CHAT, {}),
    )
    assert advice.task is Task.CHAT
    assert advice.command == f"luthier tune {tmp_path / 'a.jsonl'} -m ada"
    each = [len(f"[user]question {n}.[assistant]yo.") for n in range(100)]
    assert advice.n_tokens == sum(each)


def test_what_is_wrong_is_found_removed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    values = [
        chat("one"),
        chat("one"),
        chat("two", id=5),
        {"messages": [{"role": "user", "content": "no answer"}]},
        chat("x" * 200),
        {"messages": [{"role": "system", "content": "s"}, *chat("three")["messages"]]},
        chat("four", tools=[{"type": "function", "function": {"name": "f"}}]),
        chat("in validation"),
    ]
    valid = tmp_path / "v.jsonl"
    valid.write_text(json.dumps(chat("in validation", "other answer")) + "\n", encoding="utf-8")
    found = prepared(path, values, validation=read_source(valid).frame)
    by_code = {finding.code: finding for finding in found.findings}
    rows = {
        "unusable": (4,), "duplicates": (2,), "long_examples": (5,), "not_carried": (7,), "leaks": (8,),
        "system_messages": (1, 2, 3, 5, 7, 8), "extra_columns": (),
    }  # fmt: skip
    assert {code: by_code[code].rows for code in rows} == rows
    assert "Row 4: there is nothing to learn" in by_code["unusable"].message
    assert found.frame.index.tolist() == [1, 3, 6]
    [written] = write_prepared(path, found.frame, split=False)
    lines = [json.loads(line) for line in written.path.read_text(encoding="utf-8").splitlines()]
    assert lines == [values[0], chat("two"), values[5]]
    assert check_training_file(written.path, max_line_bytes=10_000).ok


def test_preferences(tmp_path: Path) -> None:
    values = [preference("q", "a", "b"), preference("q", "b", "a"), preference("r", "a", "b")]
    found = prepared(tmp_path / "p.jsonl", values)
    contradictions = next(finding for finding in found.findings if finding.code == "contradictions")
    assert contradictions.rows == (1, 2)
    advice = advise(
        found.frame, train_path=Path("p.jsonl"), valid_path=Path("v.jsonl"), model="ada", counter=found.counter
    )
    assert advice.command == "luthier tune p.jsonl -m ada -v v.jsonl --dpo"
    assert advice.n_tokens > 0


def test_a_base_without_a_template_is_told(tmp_path: Path) -> None:
    found = prepared(tmp_path / "a.jsonl", [chat("one")], template=None)
    told = next(finding for finding in found.findings if finding.code == "no_chat_template")
    assert told.severity is Severity.WARNING


def test_nothing_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    found = prepared(tmp_path / "a.jsonl", [{"messages": "hi"}])
    assert found.error is not None
    assert found.error.code == "no_examples"
