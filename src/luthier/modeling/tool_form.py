"""How a base writes calls of tools, learnt from its own chat template.

A template is given a conversation in which the assistant calls probes; what stands around their names and arguments is
the form. So a base answers in the form that it was taught, whichever that is, as long as a call is a name and then its
arguments as JSON, without an id of its own. Qwen and Hermes, for one, write
`<tool_call>{"name": "…", "arguments": {…}}</tool_call>`, each of the three on a line of its own.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.modeling.chat_template import ChatTemplate

_CONTENT = "probe-content-7f3a"
_ID = "probe7f3"  # with a digit, nine characters, as some templates demand
_NAMES = ("probe_one_7f3a", "probe_two_7f3a")
_ARGUMENTS = {"probe_argument": 7}
_USER = {"role": "user", "content": "a"}
_TOOLS = [{"type": "function", "function": {"name": "other", "description": "", "parameters": {"type": "object"}}}]


@dataclass(frozen=True)
class ToolForm:
    """The text of calls: `opening name between arguments`, then `again name between arguments` for each further
    one, then `closing`.

    Args:
        again: None where a base makes one call at a time.
    """

    opening: str
    between: str
    again: str | None
    closing: str

    @property
    def trigger(self) -> str:
        """The first word of the opening, such as `<tool_call>`: no other text holds it. Empty where there is none."""
        found = re.match(r"[^\s{\"]*", self.opening)
        return found[0] if found else ""


@lru_cache(maxsize=16)
def tool_form(template: ChatTemplate) -> ToolForm | None:
    """The form of a template's calls, None where it takes no tools or writes calls otherwise than described above."""
    if not template.takes_tools:
        return None
    one, two = _calls_text(template, 1), _calls_text(template, 2)
    first = _find(one, _NAMES[0])
    if first is None:
        return None
    start, between, end = first
    opening, closing = one[:start].lstrip(), one[end:].rstrip()
    again = None
    pair = _find(two, _NAMES[0]), _find(two, _NAMES[1])
    if pair[0] and pair[1] and pair[0][2] < pair[1][0]:
        again = two[pair[0][2] : pair[1][0]]
    if _ID in f"{opening}{between}{again}{closing}":
        return None
    return ToolForm(opening, between, again, closing)


def _calls_text(template: ChatTemplate, count: int) -> str:
    """What the assistant says to make some calls; empty when the template does not take them."""
    calls = [
        {"id": f"{_ID}{at}", "type": "function", "function": {"name": name, "arguments": _ARGUMENTS}}
        for at, name in enumerate(_NAMES[:count])
    ]
    for content in (_CONTENT, ""):  # some leave out what is said beside a call
        turn: dict[str, Any] = {"role": "assistant", "content": content, "tool_calls": calls}
        try:
            before = template.render([_USER], _TOOLS, add_generation_prompt=True)
            text = template.render([_USER, turn], _TOOLS, add_generation_prompt=False)
        except InvalidRequestError:
            return ""
        if content in text and (content or text.startswith(before)):
            said = text.partition(content)[2] if content else text.removeprefix(before)
            return said.rstrip().removesuffix(template.end_of_turn)
    return ""


def _find(text: str, name: str) -> tuple[int, str, int] | None:
    """Where a name starts, what stands between it and its arguments, and where these end."""
    start = text.find(name)
    if start < 0:
        return None
    after = start + len(name)
    for brace in re.finditer(r"\{", text[after:]):
        at = after + brace.start()
        try:
            arguments, end = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            continue
        if arguments == _ARGUMENTS:
            return start, text[after:at], end
    return None
