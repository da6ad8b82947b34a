"""Chats: what a model that says just this is read as, held to a form or free."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.catalogue.entry import Entry, FolderSource
from luthier.completion.engine import CompletionEngine
from luthier.completion.fake import FakeDecoder, parrot
from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.chat import AnswerFormat, Tool, ToolChoice, ToolMode
from luthier.domain.generation import FinishReason, SamplingParams
from luthier.errors import InvalidRequestError, NotFoundError, UnavailableError
from luthier.modeling.bases import LocalBase
from luthier.services.chat import ChatChoice, ChatChunk, ChatRequest, ChatService
from luthier.services.models import ServedModel
from luthier.services.tool_calls import CallArguments, CallBegin, Content
from luthier.testing import PLAIN_CHAT, TOOL_CHAT, ByteTokenizer

# As Llama 3 has it: bare JSON, one call at a time.
BARE_CHAT = (
    "{% for m in messages %}{{ '[' + m.role + ']' + (tools | tojson if tools and loop.first else '') }}"
    "{% for c in m.tool_calls or [] %}{% if not loop.first %}{{ raise_exception('one') }}{% endif %}"
    "{{ '{\"name\": \"' + c.function.name + '\", \"parameters\": ' + c.function.arguments | tojson + '}' }}"
    "{% else %}{{ m.content }}{% endfor %}{{ '<|end|>' }}{% endfor %}{{ '[assistant]' if add_generation_prompt }}"
)
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
ADD, NOW = Tool("add", "Adds.", SCHEMA), Tool("now")
REQUIRED = ToolChoice(ToolMode.REQUIRED)


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


Serve = Callable[..., ChatService]


@pytest.fixture
def serve(settings: Settings, tmp_path: Path) -> Iterator[Serve]:
    """A service over a model that goes on with `says` as far as it is let, of a base with this template."""
    engines = []

    def started(says: str, template: str | None = TOOL_CHAT) -> ChatService:
        folder = tmp_path / str(len(engines))
        folder.mkdir()
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        base = LocalBase("ada", folder, Entry("ada", "A fake", FolderSource(folder), {}))

        class OneModel:
            def resolve(self, name: str) -> ServedModel:
                return ServedModel(name, base, None, Weights(folder), ByteTokenizer(), 2000)

        engine = CompletionEngine(settings, lambda _: FakeDecoder(parrot(says)))
        engine.start()
        engines.append(engine)
        models: Any = OneModel()
        return ChatService(models, engine)

    yield started
    for engine in engines:
        engine.stop()


def request(**fields: Any) -> ChatRequest:
    messages = ({"role": "user", "content": "Q"},)
    return ChatRequest(**{"model": "m", "messages": messages, "params": SamplingParams(temperature=0), **fields})


def answer(service: ChatService, asked: ChatRequest) -> ChatChoice:
    """The whole answer, the same as the stream's pieces put together."""
    (whole,) = asyncio.run(service.create(asked)).choices

    async def gather() -> list[ChatChunk]:
        return [chunk async for chunk in await service.stream(asked)]

    chunks = asyncio.run(gather())
    pieces = [chunk.piece for chunk in chunks]
    said = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    assert said == (whole.content or "")
    assert [piece.name for piece in pieces if isinstance(piece, CallBegin)] == [one.name for one in whole.tool_calls]
    for index, one in enumerate(whole.tool_calls):
        texts = [piece.text for piece in pieces if isinstance(piece, CallArguments) and piece.index == index]
        assert "".join(texts) == one.arguments
    assert [chunk.begins for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert chunks[-1].finish_reason is whole.finish_reason
    return whole


def calls(choice: ChatChoice) -> list[tuple[str, str]]:
    return [(one.name, one.arguments) for one in choice.tool_calls]


def test_words(serve: Serve) -> None:
    choice = answer(serve("Hello.", PLAIN_CHAT), request())
    assert (choice.content, choice.tool_calls, choice.finish_reason) == ("Hello.", (), FinishReason.STOP)
    assert answer(serve("", PLAIN_CHAT), request()).content == ""
    cut = answer(serve("Hello.", PLAIN_CHAT), request(max_tokens=3))
    assert (cut.content, cut.finish_reason) == ("Hel", FinishReason.LENGTH)


def test_an_end_of_turn_in_words_ends_an_answer(serve: Serve) -> None:
    template = PLAIN_CHAT.replace("<|end|>", "\\n###\\n")
    choice = answer(serve("Hello.\n###\nMore", template), request())
    assert (choice.content, choice.finish_reason) == ("Hello.\n", FinishReason.STOP)


def test_free_calls(serve: Serve) -> None:
    choice = answer(serve("I add.\n" + call("add", '{"a": 2}')), request(tools=(ADD, NOW)))
    assert (choice.content, calls(choice)) == ("I add.", [("add", '{"a": 2}')])
    assert choice.finish_reason is FinishReason.TOOL_CALLS
    choice = answer(serve(call("add", '{"a": 1}') + call("now", "{}")), request(tools=(ADD, NOW)))
    assert (choice.content, calls(choice)) == (None, [("add", '{"a": 1}'), ("now", "{}")])
    choice = answer(serve("No < call."), request(tools=(ADD,)))
    assert (choice.content, calls(choice), choice.finish_reason) == ("No < call.", [], FinishReason.STOP)


def test_calls_are_held_to_their_schemas(serve: Serve) -> None:
    wrong = call("add", '{"a": 3}')  # the model would say 3; the first likely thing that may follow is another
    ((name, arguments),) = calls(answer(serve(wrong), request(tools=(ADD,), tool_choice=ToolChoice(parallel=False))))
    assert name == "add"
    assert json.loads(arguments)["a"] in (1, 2)


def test_one_call_at_a_time(serve: Serve) -> None:
    two = call("now", "{}") + call("now", "{}")
    choice = answer(serve(two), request(tools=(NOW,), tool_choice=ToolChoice(parallel=False)))
    assert calls(choice) == [("now", "{}")]
    assert choice.finish_reason is FinishReason.TOOL_CALLS


def test_required_and_forbidden_calls(serve: Serve) -> None:
    says = "Hello." + call("now", "{}")
    asked = request(tools=(ADD, NOW), tool_choice=ToolChoice(ToolMode.REQUIRED, frozenset({"now"}), parallel=False))
    ((name, arguments),) = calls(answer(serve(says), asked))
    assert (name, json.loads(arguments)) == ("now", {})
    free = answer(serve(call("now", "{}")), request(tools=(NOW,), tool_choice=ToolChoice(ToolMode.NONE)))
    assert (free.content, free.tool_calls) == (call("now", "{}"), ())


def test_a_call_cut_short(serve: Serve) -> None:
    text = call("add", '{"a": 2}')
    cut = answer(serve(text), request(tools=(ADD,), max_tokens=text.index("2")))
    assert (calls(cut), cut.finish_reason) == ([("add", '{"a": ')], FinishReason.LENGTH)


def test_bare_calls(serve: Serve) -> None:
    text = '{"name": "add", "parameters": {"a": 1}}'
    assert calls(answer(serve(text, BARE_CHAT), request(tools=(ADD,)))) == [("add", '{"a": 1}')]
    assert calls(answer(serve(text, BARE_CHAT), request(tools=(ADD,), tool_choice=REQUIRED))) == [("add", '{"a": 1}')]
    words = answer(serve("So {it} is.", BARE_CHAT), request(tools=(ADD,)))
    assert (words.content, words.tool_calls) == ("So {it} is.", ())
    with pytest.raises(InvalidRequestError, match="do not go together"):
        answer(serve(text, BARE_CHAT), request(tools=(ADD,), answer=AnswerFormat({"type": "object"})))


def test_json_or_calls(serve: Serve) -> None:
    form = AnswerFormat({"type": "array", "items": {"type": "string"}}, "words")
    odd = '["<tool_call>"]'
    choice = answer(serve(odd), request(tools=(ADD,), answer=form))
    assert (choice.content, choice.tool_calls, choice.finish_reason) == (odd, (), FinishReason.STOP)
    choice = answer(serve(call("add", '{"a": 1}')), request(tools=(ADD,), answer=form))
    assert (choice.content, calls(choice)) == (None, [("add", '{"a": 1}')])


def test_references_within_a_schema(serve: Serve) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/number"}},
        "required": ["a"],
        "$defs": {"number": {"const": 7}},
    }
    says = call("add", '{"a": 7}')
    assert calls(answer(serve(says), request(tools=(Tool("add", None, schema),)))) == [("add", '{"a": 7}')]
    form = AnswerFormat(schema, "row")
    assert answer(serve('{"a": 7}'), request(answer=form)).content == '{"a": 7}'


@pytest.mark.parametrize("strict", [False, True])
def test_keywords_that_cannot_be_held(serve: Serve, strict: bool) -> None:
    schema = {**SCHEMA, "if": {"required": ["a"]}}
    tool, form = Tool("add", None, schema, strict), AnswerFormat(schema, "row", strict)
    if not strict:
        assert answer(serve('{"a": 2}'), request(answer=form)).content == '{"a": 2}'
        assert calls(answer(serve(call("add", '{"a": 2}')), request(tools=(tool,)))) == [("add", '{"a": 2}')]
        return
    with pytest.raises(InvalidRequestError, match="Invalid schema for response_format 'row'"):
        answer(serve(""), request(answer=form))
    with pytest.raises(InvalidRequestError, match="Invalid schema for function 'add'") as caught:
        answer(serve(""), request(tools=(NOW, tool)))
    assert caught.value.param == "tools.1.function.parameters"


def test_white_space_has_an_end(serve: Serve) -> None:
    choice = answer(serve("{" + " " * 500), request(answer=AnswerFormat(SCHEMA), max_tokens=300))
    assert choice.finish_reason is FinishReason.STOP
    assert json.loads(choice.content or "")["a"] in (1, 2)


def test_log_probabilities_leave_out_the_end(serve: Serve) -> None:
    params = SamplingParams(temperature=0, logprobs=3)
    result = asyncio.run(serve("Hé", PLAIN_CHAT).create(request(params=params)))
    (choice,) = result.choices
    assert choice.logprobs is not None
    assert [token.token for token in choice.logprobs] == ["H", "\\xc3", "\\xa9"]
    assert bytes(byte for token in choice.logprobs for byte in token.bytes).decode() == "Hé"
    assert {len(token.top_logprobs) for token in choice.logprobs} == {3}
    assert result.usage.completion_tokens == 4


def test_names_where_the_template_has_a_place(serve: Serve) -> None:
    named = ({"role": "user", "content": "Q", "name": "Ann"},)
    with pytest.raises(InvalidRequestError, match="no place for an author's name"):
        answer(serve("a", PLAIN_CHAT), request(messages=named))
    template = PLAIN_CHAT.replace("message.role", "(message.name or message.role)")
    assert answer(serve("a", template), request(messages=named)).content == "a"


def test_bases_that_cannot(serve: Serve) -> None:
    with pytest.raises(NotFoundError, match="not a chat model"):
        answer(serve("a", None), request())
    with pytest.raises(UnavailableError, match="damaged"):
        answer(serve("a", "{% if %}"), request())
    with pytest.raises(InvalidRequestError, match="no place for them"):
        answer(serve("a", PLAIN_CHAT), request(tools=(ADD,)))
    with pytest.raises(InvalidRequestError, match="two users in a row"):
        answer(
            serve("a", "{% if messages | length > 1 %}{{ raise_exception('two users in a row') }}{% endif %}a"),
            request(messages=({"role": "user", "content": "a"},) * 2),
        )
