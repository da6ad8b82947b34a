"""The form of calls, learnt from templates of the kinds that bases have."""

from luthier.modeling.chat_template import ChatTemplate
from luthier.modeling.tool_form import ToolForm, tool_form
from luthier.testing import PLAIN_CHAT, TOOL_CHAT

# As Llama 3 has it: bare JSON, one call at a time, nothing said beside it.
BARE = """
{%- for m in messages %}
  {%- if m.tool_calls %}
    {%- if m.tool_calls | length > 1 %}{{ raise_exception('One call at a time.') }}{% endif %}
    {%- set f = m.tool_calls[0].function %}
    {{- '[assistant]{"name": "' + f.name + '", "parameters": ' + f.arguments | tojson + '}<|end|>' }}
  {%- else %}
    {{- '[' + m.role + ']' + (tools | tojson if tools and loop.first else '') + m.content + '<|end|>' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '[assistant]' }}{% endif %}
"""
# As some of Mistral's have it: an id in each call.
WITH_IDS = BARE.replace("f.arguments | tojson + '}", 'f.arguments | tojson + \', "id": "\' + m.tool_calls[0].id + \'"}')
# As Qwen 3 Coder has it: no JSON.
TAGS = BARE.replace("f.arguments | tojson", "'<parameter=' + f.arguments.keys() | first + '>'")


def _form(source: str) -> ToolForm | None:
    return tool_form(ChatTemplate(source, {}))


def test_tagged_calls() -> None:
    form = _form(TOOL_CHAT)
    assert form == ToolForm(
        opening='<tool_call>\n{"name": "',
        between='", "arguments": ',
        again='}\n</tool_call><tool_call>\n{"name": "',
        closing="}\n</tool_call>",
    )
    assert form.trigger == "<tool_call>"


def test_bare_calls_one_at_a_time() -> None:
    form = _form(BARE)
    assert form == ToolForm(opening='{"name": "', between='", "parameters": ', again=None, closing="}")
    assert form.trigger == ""


def test_forms_that_are_not_understood() -> None:
    for source in (PLAIN_CHAT, WITH_IDS, TAGS):
        assert _form(source) is None
