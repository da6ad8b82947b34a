"""Chat templates for the tiny base."""

from luthier.testing.tokenizer import EOS_TEXT

PLAIN_CHAT = (
    "{% for message in messages %}{{ '[' + message.role + ']' + message.content + '" + EOS_TEXT + "' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
"""Without tools, as that of `ada`: `[user]Hi<|end|>[assistant]`."""

TOOL_CHAT = (
    "{% if tools %}{{ '[tools]' + (tools | tojson) + '" + EOS_TEXT + "' }}{% endif %}"
    "{% for message in messages %}{{ '[' + message.role + ']' + message.content }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ '<tool_call>\\n' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson)"
    " + '\\n</tool_call>' }}{% endfor %}"
    "{{ '" + EOS_TEXT + "' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
"""With tools, in the form of Qwen and Hermes: `<tool_call>{"name": …, "arguments": …}</tool_call>`."""
