"""Chat templates: found, rendered as transformers renders them, and asked what they take."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidRequestError, WeightsError
from luthier.modeling.chat_template import ChatTemplate
from luthier.testing import PLAIN_CHAT, TOOL_CHAT

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def _folder(folder: Path, config: dict[str, Any], jinja: str | None = None) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if jinja is not None:
        (folder / "chat_template.jinja").write_text(jinja)
    return folder


def _template(source: str) -> ChatTemplate:
    return ChatTemplate(source, {})


def test_no_template_no_chat(tiny_base: Path, tmp_path: Path) -> None:
    assert ChatTemplate.of(tiny_base) is None
    assert ChatTemplate.of(tmp_path) is None


def test_the_file_goes_before_the_configuration(tmp_path: Path) -> None:
    template = ChatTemplate.of(_folder(tmp_path, {"chat_template": "old"}, PLAIN_CHAT))
    assert template
    assert template.render([USER], add_generation_prompt=True) == "[user]Hi<|end|>[assistant]"
    assert template.render([USER], add_generation_prompt=False) == "[user]Hi<|end|>"


def test_named_templates_and_special_tokens(tmp_path: Path) -> None:
    config = {
        "bos_token": {"content": "<s>"},
        "add_bos_token": True,
        "chat_template": [
            {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"},
            {"name": "tool_use", "template": "{{ bos_token }}{{ tools | tojson }}"},
        ],
    }
    template = ChatTemplate.of(_folder(tmp_path, config))
    assert template
    assert template.takes_tools
    assert template.render([USER], add_generation_prompt=True) == "<s>Hi"
    assert '"add"' in template.render([USER], [TOOL], add_generation_prompt=True)


def test_what_templates_take() -> None:
    plain, tools = _template(PLAIN_CHAT), _template(TOOL_CHAT)
    assert (plain.takes_tools, tools.takes_tools) == (False, True)
    assert not plain.takes_names
    assert _template("{{ messages[0].name }}").takes_names
    assert plain.end_of_turn == tools.end_of_turn == "<|end|>"
    assert _template("{% for m in messages %}{{ m.content + '\n' }}{% endfor %}").end_of_turn == ""


def test_messages_of_the_api_become_those_of_templates() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    text = _template(TOOL_CHAT).render(messages, add_generation_prompt=False)
    assert text == (
        "[system]Be brief.<|end|>[user]one\ntwo<|end|>[assistant]<tool_call>\n"
        '{"name": "add", "arguments": {"a": 1}}\n</tool_call><|end|>'
    )
    knows = _template("{{ messages[0].role }}{% if messages[0].role == 'developer' %}!{% endif %}")
    assert knows.render(messages[:1], add_generation_prompt=False) == "developer!"
    assert messages[2]["content"] is None
    assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}


def test_a_refusal_of_the_template_is_told() -> None:
    strict = _template("{% if messages[0].role != 'user' %}{{ raise_exception('A user begins.') }}{% endif %}")
    with pytest.raises(InvalidRequestError, match="A user begins") as caught:
        strict.render([{"role": "system", "content": "a"}], add_generation_prompt=True)
    assert caught.value.param == "messages"


def test_templates_are_data_not_code() -> None:
    escaping = _template("{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(InvalidRequestError):
        escaping.render([USER], add_generation_prompt=True)


@pytest.mark.parametrize("source", ["{% if %}", "{{ nothing.at.all }}"])
def test_damaged_templates(tmp_path: Path, source: str) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        ChatTemplate.of(_folder(tmp_path, {}, source))


@pytest.mark.weights
def test_ada_renders_as_transformers(ada_folder: Path) -> None:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    messages = [USER, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]
    template = ChatTemplate.of(ada_folder)
    assert template
    expected = auto.from_pretrained(ada_folder).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert template.render(messages, add_generation_prompt=True) == expected
    assert (template.takes_tools, template.end_of_turn) == (False, "<|im_end|>")
