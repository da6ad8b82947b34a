"""Chat templates: how a base wants a conversation written.

A template is Jinja text that came with the weights. transformers renders it in a sandbox, with nothing but plain data.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from luthier.errors import InvalidRequestError, WeightsError

_FILE = "chat_template.jinja"
_CONFIG = "tokenizer_config.json"
_WITH_TOOLS = "tool_use"  # the name under which some bases keep a second template
_PROBE = "probe-7f3a"  # a word that no template holds


class ChatTemplate:
    """The chat template of one base.

    Args:
        source: Jinja text.
        special_tokens: `bos_token`, `eos_token` and others that templates write by name.
        tools_source: the template for conversations with tools, where it is another one.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], tools_source: str | None = None) -> None:
        self._source = source
        self._tools_source = tools_source or source
        self._special_tokens = dict(special_tokens)

    @classmethod
    def of(cls, folder: Path) -> "ChatTemplate | None":
        """The template in a base's folder: `chat_template.jinja`, else that of `tokenizer_config.json`.

        Returns:
            None for a base that was not taught to chat.

        Raises:
            WeightsError: a file that cannot be read, or a template that Jinja does not understand.
        """
        config = _read_config(folder / _CONFIG)
        named = config.get("chat_template")
        if isinstance(named, list):
            named = {item["name"]: item["template"] for item in named}
        elif isinstance(named, str):
            named = {"default": named}
        templates: dict[str, str] = named or {}
        try:
            if (folder / _FILE).is_file():
                templates["default"] = (folder / _FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{folder / _FILE} cannot be read: {error}") from None
        if "default" not in templates:
            return None
        template = cls(templates["default"], _special_tokens(config), templates.get(_WITH_TOOLS))
        try:
            template.render([{"role": "user", "content": _PROBE}], add_generation_prompt=True)
        except InvalidRequestError as error:
            raise WeightsError(f"The chat template in {folder} is damaged: {error.message}") from None
        return template

    @cached_property
    def takes_tools(self) -> bool:
        """Whether tools given to `render` come out in the text."""
        tool = {"type": "function", "function": {"name": _PROBE, "description": "", "parameters": {"type": "object"}}}
        return _PROBE in self._try([{"role": "user", "content": "a"}], [tool])

    @cached_property
    def takes_names(self) -> bool:
        """Whether the `name` of a message's author comes out in the text."""
        return _PROBE in self._try([{"role": "user", "name": _PROBE, "content": "a"}])

    @cached_property
    def end_of_turn(self) -> str:
        """What stands behind an assistant's words, such as `<|im_end|>`; empty when nothing but space does."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
        return self._try(turns).partition(_PROBE)[2].strip()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool,
    ) -> str:
        """A conversation as one text, special tokens spelled out.

        What templates expect otherwise than OpenAI's API has it is brought into their form: the arguments of tool
        calls are objects, the parts of a text are joined by line breaks, absent content is empty, and a developer is
        the system unless the template knows the word.

        Args:
            messages: as in OpenAI's API: `role`, `content`, and what else the role has.
            tools: as in OpenAI's API. Only for templates that take them.
            add_generation_prompt: end with the beginning of the assistant's next turn.

        Raises:
            InvalidRequestError: the template refuses this conversation, for its own reason.
        """
        source = self._tools_source if tools else self._source
        renderer: Any = render_jinja_template  # its annotations are not those of what it takes and gives
        try:
            texts, _ = renderer(
                conversations=[[self._message(message) for message in messages]],
                tools=[dict(tool) for tool in tools] if tools else None,
                chat_template=source,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except (TemplateError, TypeError, ValueError, LookupError) as error:  # from within the template
            raise InvalidRequestError(
                f"The model's chat template does not take this conversation: {error}", param="messages"
            ) from None
        text: str = texts[0]
        return text

    def _try(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None) -> str:
        """The text of a probe, empty when the template does not take it."""
        try:
            return self.render(messages, tools, add_generation_prompt=False)
        except InvalidRequestError:
            return ""

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        changed = dict(message)
        content = message.get("content")
        if isinstance(content, list | tuple):
            content = "\n".join(part["text"] for part in content)
        changed["content"] = content or ""
        if message["role"] == "developer" and "developer" not in self._source:
            changed["role"] = "system"
        if calls := message.get("tool_calls"):
            changed["tool_calls"] = [_call(call) for call in calls]
        return changed


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as an object; as they stand when they are no JSON."""
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError:
            return dict(call)
    return {**call, "function": function}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    return content


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    tokens = {}
    for name, token in config.items():
        if name.endswith("_token") and not name.startswith("add_"):
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str):
                tokens[name] = text
    return tokens
