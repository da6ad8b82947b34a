"""What the contract tests of chats share: asking, whole and as a stream, and being refused."""

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

PATH = "POST /v1/chat/completions"
PLAIN, TOOLED = "gpt-4o-mini", "gpt-4o"
HI = [{"role": "user", "content": "Hi"}]
NO_END = {"256": -100}  # the token that ends a turn: without it every answer has all its tokens


def ask(client: openai.OpenAI, messages: Any = HI, **fields: Any) -> ChatCompletion:
    fields = {"model": PLAIN, "max_completion_tokens": 8, "temperature": 0, "logit_bias": NO_END, **fields}
    return client.chat.completions.create(messages=messages, **fields)


def text(client: openai.OpenAI, messages: Any = HI, **fields: Any) -> str:
    content = ask(client, messages, **fields).choices[0].message.content
    assert content is not None
    return content


def chunks(client: openai.OpenAI, messages: Any = HI, **fields: Any) -> list[ChatCompletionChunk]:
    fields = {"model": PLAIN, "max_completion_tokens": 8, "temperature": 0, "logit_bias": NO_END, **fields}
    return list(client.chat.completions.create(messages=messages, stream=True, **fields))


def refused(client: openai.OpenAI, param: str, message: str, messages: Any = HI, **fields: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        ask(client, messages, extra_body=fields)
    assert caught.value.param == param
