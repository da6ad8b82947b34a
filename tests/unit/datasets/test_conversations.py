"""Chat and preference files: what a line must be, and which of its tokens are learnt."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.datasets.encode import EncodedExample
from luthier.datasets.examples import Format
from luthier.datasets.training_file import read_examples, read_pairs
from luthier.datasets.validate import TrainingFileReport, check_training_file
from luthier.errors import DataError
from luthier.modeling.chat_template import ChatTemplate
from luthier.modeling.tokenizer import HFTokenizer
from luthier.testing import ByteTokenizer
from luthier.testing.chat import PLAIN_CHAT, TOOL_CHAT

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
PREFERENCE = {
    "input": {"messages": [USER]},
    "preferred_output": [ANSWER],
    "non_preferred_output": [{"role": "assistant", "content": "no!"}],
}
FORGETFUL = (  # writes an answer's thoughts while it is the last message alone, as templates of thinking models do
    "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last else m.content.split('#')[-1] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def plain(source: str = PLAIN_CHAT) -> ChatTemplate:
    return ChatTemplate(source, {})


def file(folder: Path, *values: Any) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def check(folder: Path, *values: Any) -> TrainingFileReport:
    return check_training_file(file(folder, *values), max_line_bytes=10_000)


def learnt(example: EncodedExample) -> list[str]:
    """The learnt pieces of text."""
    pieces, last = [], False
    for token, mine in zip(example.input_ids, example.completion_mask, strict=True):
        if mine:
            pieces += [[token]] if not last else []
            if last:
                pieces[-1].append(token)
        last = mine
    return [ByteTokenizer().decode(piece) for piece in pieces]


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (chat(), "`messages` is an empty list"),
        ({"messages": "hi"}, "`messages` is a string; it must be a list"),
        (chat(USER), "there is nothing to learn: no message of the assistant."),
        (chat(USER, {**ANSWER, "weight": 0}), "no message of the assistant has a weight of 1"),
        (chat(USER, {**ANSWER, "weight": 0.5}), "message 2 has the weight 0.5"),
        (chat(USER, {**ANSWER, "weight": True}), "message 2 has the weight True"),
        (
            chat({**USER, "weight": 1}, ANSWER),
            "`messages`, message 1 has the key `weight`, which a message of",
        ),
        (chat({"role": "teacher", "content": "x"}), "the role `teacher`; there are system, developer, user"),
        (chat({"role": "function", "content": "x"}), "with the role `tool`"),
        (chat({"role": "user"}, ANSWER), "message 1 has no `content`"),
        (chat(USER, {"role": "assistant", "content": " "}), "message 2 is empty"),
        (chat({"role": "user", "content": 5}), "`content` is a number"),
        (chat({"role": "user", "content": [{"type": "image_url"}]}), "a part of type `image_url`"),
        (chat({"role": "user", "content": "\ud83d"}, ANSWER), "half a character"),
        (chat(USER, CALLING), "the assistant calls `look`, which is not among `tools`"),
        (chat(USER, {"role": "assistant", "tool_calls": []}, tools=TOOLS), "`tool_calls` must be a list of calls"),
        (chat(USER, {"role": "assistant", "tool_calls": [{"id": "c"}]}, tools=TOOLS), "each of `tool_calls` must be"),
        (chat(USER, {"role": "tool", "content": "x"}, ANSWER), "`tool_call_id` is missing"),
        (chat(USER, {"role": "tool", "tool_call_id": "c9", "content": "x"}, ANSWER), "message 2 answers `c9`, a call"),
        (chat(USER, ANSWER, tools=[{"type": "function", "function": {"name": "f", "args": {}}}]), "has the key `args`"),
        (chat(USER, ANSWER, tools=[{"name": "look"}]), "each of `tools` must be"),
        (chat(USER, ANSWER, tools=TOOLS, parallel_tool_calls="no"), "`parallel_tool_calls` is a string"),
        (
            chat(USER, {"role": "assistant", "tool_calls": [CALL, CALL]}, tools=TOOLS, parallel_tool_calls=False),
            "several calls in one message",
        ),
        ({**PREFERENCE, "input": [USER]}, "`input` is a list"),
        ({**PREFERENCE, "input": {"messages": [USER], "metadata": {}}}, "`input` has the key `metadata`"),
        ({"input": {"messages": [USER]}, "preferred_output": [ANSWER]}, "the key `non_preferred_output` is missing"),
        ({**PREFERENCE, "preferred_output": [USER]}, "`preferred_output` must hold one message, the assistant's"),
        ({**PREFERENCE, "preferred_output": PREFERENCE["non_preferred_output"]}, "are the same"),
        ({**PREFERENCE, "preferred_output": [{**ANSWER, "weight": 1}]}, "both outputs weigh alike"),
    ],
)
def test_a_wrong_line_is_told(tmp_path: Path, value: Any, message: str) -> None:
    report = check(tmp_path, value)
    assert report.n_errors == 1
    assert message in report.errors[0].message


def test_what_is_right_is_taken(tmp_path: Path) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    full = chat(
        {"role": "developer", "content": "be brief"},
        parts,
        {**CALLING, "content": None},
        {"role": "tool", "tool_call_id": "c1", "content": "blue"},
        {**ANSWER, "weight": 1},
        tools=TOOLS,
        parallel_tool_calls=False,
    )
    report = check(tmp_path, full, chat(USER, ANSWER))
    assert (report.ok, report.n_examples, report.format) == (True, 2, Format.CHAT)
    report = check(tmp_path, PREFERENCE)
    assert (report.ok, report.format) == (True, Format.PREFERENCE)
    assert check(tmp_path, {**chat(USER, ANSWER), "id": 7}).summary() == "Training does not read `id`."


def test_a_file_has_one_format(tmp_path: Path) -> None:
    report = check(tmp_path, chat(USER, ANSWER), {"prompt": "a", "completion": "b"}, PREFERENCE, chat(USER, ANSWER))
    assert [error.line for error in report.errors] == [2, 3]
    assert report.errors[0].message == (
        "it is a prompt with its completion, but the file's first, line 1, is a chat example. Give each format a file "
        "of its own."
    )
    assert '{"messages": ' in check(tmp_path, chat()).summary()


def test_the_assistants_turns_are_learnt_with_their_end(tmp_path: Path) -> None:
    path = file(tmp_path, chat(USER, {**ANSWER, "weight": 0}, USER, ANSWER, USER, {**ANSWER, "content": "bye"}, USER))
    [example] = read_examples(path, ByteTokenizer(), 200, plain())
    text = ByteTokenizer().decode(example.input_ids)
    assert text == (
        "[user]hi<|end|>[assistant]yo<|end|>[user]hi<|end|>[assistant]yo<|end|>[user]hi<|end|>[assistant]bye<|end|>"
    )
    assert learnt(example) == ["yo<|end|>", "bye<|end|>"]
    assert example.completion == "bye"


def test_turns_that_the_template_rewrites_become_sequences_of_their_own(tmp_path: Path) -> None:
    thinking = {"role": "assistant", "content": "hm#yo"}
    path = file(tmp_path, chat(USER, thinking, USER, thinking))
    first, second = read_examples(path, ByteTokenizer(), 200, plain(FORGETFUL))
    assert ByteTokenizer().decode(first.input_ids) == "[user]hi<|end|>[assistant]hm#yo<|end|>"
    assert ByteTokenizer().decode(second.input_ids).startswith("[user]hi<|end|>[assistant]yo<|end|>[user]hi")
    assert learnt(first) == learnt(second) == ["hm#yo<|end|>"]


def test_tool_calls_are_learnt_where_the_template_has_them(tmp_path: Path) -> None:
    path = file(tmp_path, chat(USER, CALLING, tools=TOOLS))
    [example] = read_examples(path, ByteTokenizer(), 500, plain(TOOL_CHAT))
    assert '"look"' in learnt(example)[0]
    assert "[tools]" in ByteTokenizer().decode(example.input_ids)
    answered = chat(USER, CALLING, {"role": "tool", "tool_call_id": "c1", "content": "blue"}, ANSWER, tools=TOOLS)
    named = TOOL_CHAT.replace("message.role +", "message.role + (message.name or '') +")
    [example] = read_examples(file(tmp_path, answered), ByteTokenizer(), 500, plain(named))
    assert "[toollook]blue" in ByteTokenizer().decode(example.input_ids)
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: it has `tools`, which the base's chat template leaves out"):
        read_examples(path, ByteTokenizer(), 500, plain())


@pytest.mark.parametrize(
    ("source", "messages", "words"),
    [
        (PLAIN_CHAT, [{**USER, "name": "bob"}, ANSWER], "a message has a `name`"),
        ("{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}.{% endif %}{% endfor %}",
         [{"role": "system", "content": "polite"}, USER, ANSWER], "leaves out message 1, of the role system"),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[-1].content }}",
         [{"role": "system", "content": "polite"}, USER, ANSWER], "no system"),
        ("{% if add_generation_prompt %}?{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}",
         [USER, ANSWER], "otherwise than it asks for it"),
    ],
)  # fmt: skip
def test_what_a_template_does_not_carry_is_refused(
    tmp_path: Path, source: str, messages: list[Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_examples(file(tmp_path, chat(*messages)), ByteTokenizer(), 200, plain(source))


def test_pairs(tmp_path: Path) -> None:
    [pair] = read_pairs(file(tmp_path, PREFERENCE), ByteTokenizer(), 200, plain())
    assert learnt(pair.preferred) == ["yo<|end|>"]
    assert learnt(pair.other) == ["no!<|end|>"]
    assert ByteTokenizer().decode(pair.other.input_ids) == "[user]hi<|end|>[assistant]no!<|end|>"
    assert pair.n_tokens == len(pair.preferred.input_ids) + len(pair.other.input_ids)


def test_what_does_not_fit_the_objective_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: it is a preference example; those are for the method dpo"):
        read_examples(file(tmp_path, PREFERENCE), ByteTokenizer(), 200, plain())
    with pytest.raises(DataError, match="line 1: it is no preference example"):
        read_pairs(file(tmp_path, chat(USER, ANSWER)), ByteTokenizer(), 200, plain())
    with pytest.raises(DataError, match="line 1: the base has no chat template"):
        read_examples(file(tmp_path, chat(USER, ANSWER)), ByteTokenizer(), 200)
    with pytest.raises(DataError, match=r"the 20 tokens that the model takes: line 1 \(24 tokens\)"):
        read_pairs(file(tmp_path, PREFERENCE), ByteTokenizer(), 20, plain())


@pytest.mark.weights
def test_a_turn_of_ada_follows_what_a_request_asks_with(tmp_path: Path, ada_folder: Path) -> None:
    template, tokenizer = ChatTemplate.of(ada_folder), HFTokenizer(ada_folder)
    assert template is not None
    [example] = read_examples(file(tmp_path, chat(USER, ANSWER)), tokenizer, 200, template)
    n_learnt = sum(example.completion_mask)
    asked = tokenizer.encode(template.render([USER], add_generation_prompt=True))
    assert list(example.input_ids[:-n_learnt]) == asked
    assert tokenizer.decode(example.input_ids[-n_learnt:]) == "yo<|im_end|>"
    assert example.input_ids[-1] == tokenizer.eos_id
