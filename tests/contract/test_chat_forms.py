"""Chats whose answers have a form: JSON of a schema, and calls of tools."""

import json
from typing import Any

import openai
import pytest
from chat_helpers import HI, NO_END, PATH, PLAIN, TOOLED, ask, chunks, refused, text
from pydantic import BaseModel

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [3, 4]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
NOW = {"type": "function", "function": {"name": "now"}}


class Row(BaseModel):
    name: str
    stars: int
    liked: bool


FORMAT = "response_format"
SCHEMA = f"{FORMAT}.json_schema"


@pytest.mark.contract(
    PATH,
    (FORMAT, f"{FORMAT}.type", SCHEMA, f"{SCHEMA}.name", f"{SCHEMA}.schema", f"{SCHEMA}.strict"),
    "honoured",
)
def test_json_of_a_schema(client: openai.OpenAI) -> None:
    short: Any = {"temperature": 0, "logit_bias": {"34": 20, "32": -20, "10": -20}}  # strings end soon
    made = client.chat.completions.parse(model=PLAIN, messages=HI, response_format=Row, **short)  # type: ignore[arg-type]
    (choice,) = made.choices
    assert choice.finish_reason == "stop"
    assert isinstance(choice.message.parsed, Row)
    assert Row.model_validate_json(choice.message.content or "") == choice.message.parsed
    schema = {"type": "json_schema", "json_schema": {"name": "row", "schema": {"enum": ["yes", "no"]}}}
    assert text(client, response_format=schema, max_completion_tokens=20) in ('"yes"', '"no"')
    cut = ask(client, response_format=schema, max_completion_tokens=2)
    assert (cut.choices[0].finish_reason, len(cut.choices[0].message.content or "")) == ("length", 2)
    assert text(client, response_format={"type": "text"}) == text(client)
    parts = chunks(client, response_format=schema, max_completion_tokens=20)
    assert "".join(part.choices[0].delta.content or "" for part in parts) in ('"yes"', '"no"')


def test_any_json_object(client: openai.OpenAI) -> None:
    for seed in range(3):
        made = text(
            client,
            response_format={"type": "json_object"},
            max_completion_tokens=300,
            temperature=1,
            seed=seed,
            logit_bias={"34": 10, "125": 10},
        )
        assert isinstance(json.loads(made), dict)


def test_schemas_that_cannot_be_held(client: openai.OpenAI) -> None:
    def schema(**schema: Any) -> dict[str, Any]:
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "row", **schema}}}

    where = "response_format.json_schema.schema"
    refused(client, where, "Invalid schema for response_format 'row': .*objekt", **schema(schema={"type": "objekt"}))
    odd = {"type": "object", "if": {"required": ["a"]}}
    refused(client, where, "if", **schema(schema=odd, strict=True))
    assert ask(client, **schema(schema=odd))
    refused(client, where, "must provide the parameter", **schema())
    refused(client, "response_format.json_schema", "exactly when", response_format={"type": "json_schema"})
    refused(client, "description", "description", **schema(schema={}, description="A row."))


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def calls(request: pytest.FixtureRequest, client: openai.OpenAI) -> Any:
    """Asks for calls, whole or as a stream put together again: (content, [(name, arguments)], finish reason)."""

    def whole(**fields: Any) -> Any:
        choice = ask(client, **fields).choices[0]
        made = choice.message.tool_calls or []
        assert len({call.id for call in made}) == len(made)
        return choice.message.content, [(c.function.name, c.function.arguments) for c in made], choice.finish_reason

    def streamed(**fields: Any) -> Any:
        try:
            with client.chat.completions.stream(messages=HI, **fields) as stream:  # type: ignore[arg-type]
                choice = stream.until_done().get_final_completion().choices[0]
        except openai.LengthFinishReasonError as cut:  # how the helper says so
            choice = cut.completion.choices[0]
        made = choice.message.tool_calls or []
        return choice.message.content, [(c.function.name, c.function.arguments) for c in made], choice.finish_reason

    base = {"model": TOOLED, "max_completion_tokens": 300, "temperature": 0, "logit_bias": {"10": -50}}
    return lambda **fields: (streamed if request.param else whole)(**{**base, **fields})


@pytest.mark.contract(
    PATH,
    (
        *("tools", "tools[].type", "tools[].function", "tools[].function.name", "tools[].function.description"),
        *("tools[].function.parameters", "tools[].function.strict", "tool_choice", "parallel_tool_calls"),
        *("tool_choice.type", "tool_choice.function", "tool_choice.function.name", "tool_choice.allowed_tools"),
        *("tool_choice.allowed_tools.mode", "tool_choice.allowed_tools.tools"),
        *("tool_choice.allowed_tools.tools[].type", "tool_choice.allowed_tools.tools[].function"),
        "tool_choice.allowed_tools.tools[].function.name",
    ),
    "honoured",
)
def test_calls_that_are_required(calls: Any) -> None:
    content, made, reason = calls(tools=[ADD, NOW], tool_choice="required", parallel_tool_calls=False)
    assert (content, reason) == (None, "tool_calls")
    ((name, arguments),) = made
    assert name in ("add", "now")
    for choice in (
        {"type": "function", "function": {"name": "add"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{**ADD, "function": {"name": "add"}}]},
        },
    ):
        content, made, reason = calls(tools=[NOW, ADD], tool_choice=choice, parallel_tool_calls=False)
        ((name, arguments),) = made
        values = json.loads(arguments)
        assert (name, reason, set(values)) == ("add", "tool_calls", {"a", "b"})
        assert values["a"] in (1, 2)
        assert values["b"] in (3, 4)
    ((_, arguments),) = calls(tools=[NOW], tool_choice="required", parallel_tool_calls=False)[1]
    assert json.loads(arguments) == {}


def test_calls_one_after_another(calls: Any) -> None:
    again = {"tools": [NOW], "tool_choice": "required", "max_completion_tokens": 400, "logit_bias": {"256": -100}}
    content, made, reason = calls(**again)
    assert content is None
    assert len(made) > 1
    assert {name for name, _ in made} == {"now"}
    assert reason == "length"


def test_calls_that_are_free(calls: Any, client: openai.OpenAI) -> None:
    told = {"role": "user", "content": "Hi"}
    plain = calls(tools=[ADD], tool_choice="none", max_completion_tokens=8)
    assert plain == (text(client, [told], model=TOOLED, logit_bias={"10": -50}), [], plain[2])
    content, made, _ = calls(tools=[ADD], max_completion_tokens=8)
    assert (made, bool(content)) == ([], True)
    assert content != plain[0]  # the model has read of the tool


CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 3}'}}


@pytest.mark.contract(
    PATH,
    (
        *("messages[].tool_calls", "messages[].tool_calls[].id", "messages[].tool_calls[].type"),
        *("messages[].tool_calls[].function", "messages[].tool_calls[].function.name"),
        *("messages[].tool_calls[].function.arguments", "messages[].tool_call_id"),
    ),
    "honoured",
)
def test_a_call_and_its_answer(client: openai.OpenAI) -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answered = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
    raw = client.completions.create(
        model=TOOLED,
        prompt='[user]Hi<|end|>[assistant]<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 3}}\n</tool_call>'
        "<|end|>[tool]4<|end|>[assistant]",
        max_tokens=8,
        temperature=0,
        logit_bias=NO_END,  # type: ignore[arg-type]
    )
    assert text(client, [*HI, called, answered], model=TOOLED) == raw.choices[0].text
    with pytest.raises(openai.BadRequestError, match="call_1"):
        ask(client, [*HI, called, *HI], model=TOOLED)
    with pytest.raises(openai.BadRequestError, match="preceding message with 'tool_calls'"):
        ask(client, [*HI, answered], model=TOOLED)
    refused(client, "messages.1", "no place for calls", [*HI, called, answered])


def test_tools_that_cannot_be(client: openai.OpenAI) -> None:
    def tooled(param: str, message: str, **fields: Any) -> None:
        refused(client, param, message, model=TOOLED, **fields)

    refused(client, "tools", "'tools' is not supported with the model 'gpt-4o-mini'", tools=[ADD])
    tooled("tools", r"\[\] is too short", tools=[])
    tooled("tool_choice", "only allowed when 'tools'", tool_choice="auto")
    tooled("parallel_tool_calls", "only allowed when 'tools'", parallel_tool_calls=True)
    tooled("tool_choice", "must be 'none', 'auto' or 'required'", tools=[ADD], tool_choice="some")
    tooled("tool_choice", "none of 'tools'", tools=[ADD], tool_choice={"type": "function", "function": {"name": "now"}})
    tooled("tools.1.function.name", "Two tools", tools=[ADD, ADD])
    odd = {"type": "function", "function": {"name": "a b"}}
    tooled("tools.0.function.name", "letters, digits", tools=[odd])
    wrong = {"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}
    tooled("tools.0.function.parameters", 'type: "object"', tools=[wrong])
    wrong = {"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": 3}}}
    tooled("tools.0.function.parameters", "Invalid schema for function 'a'", tools=[wrong])
    tooled("tools.0.type", "must be 'function'", tools=[{"type": "custom", "function": {"name": "a"}}])
