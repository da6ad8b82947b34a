"""From a conversation to what the engine takes: a prompt, its ends, and what the answer must be."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from luthier.completion.constraint import Constraint
from luthier.completion.grammars import json_grammar, tool_grammar
from luthier.datasets.conversations import with_tool_names
from luthier.domain.chat import ToolMode
from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError, NotFoundError, UnavailableError, WeightsError
from luthier.modeling.chat_template import ChatTemplate
from luthier.modeling.tool_form import ToolForm, tool_form
from luthier.modeling.turn_ends import TurnEnds, turn_ends
from luthier.services.chat_checks import ChatRequest, Message
from luthier.services.completion_checks import check_encoded
from luthier.services.models import ServedModel
from luthier.services.sampling_checks import bias_by_id


@dataclass(frozen=True)
class ChatPrompt:
    """A request that can be given to the engine.

    Args:
        n: answers.
        ends: tokens that end an answer and are no part of it.
        constraint: None for any text.
        form: how calls are written, None when there are to be none.
        calls_anywhere: they may follow other words.
    """

    model: ServedModel
    token_ids: tuple[int, ...]
    params: SamplingParams
    n: int
    ends: frozenset[int]
    constraint: Constraint | None
    form: ToolForm | None
    calls_anywhere: bool


def prepare(request: ChatRequest, model: ServedModel, max_sequence_tokens: int) -> ChatPrompt:
    """Write a request as its model wants it.

    Args:
        max_sequence_tokens: of prompt and answer, that the engine can hold.

    Raises:
        NotFoundError: the model was not taught to chat.
        InvalidRequestError: its template does not take something of the request, a schema cannot be followed, or there
            are too many tokens.
    """
    template = _template_of(model)
    tools = [] if request.tool_choice.mode is ToolMode.NONE else list(request.tools)
    form = _form(request, model, template) if tools else None
    _check_taken(request.messages, model, template)
    text = template.render(
        with_tool_names(request.messages), [_tool_object(tool) for tool in tools], add_generation_prompt=True
    )
    token_ids = tuple(model.tokenizer.encode(text))
    check_encoded(token_ids, model.tokenizer, " of the messages", "messages")
    if not token_ids:
        raise InvalidRequestError(
            f"The chat template of '{model.id}' makes nothing of this conversation.", param="messages"
        )
    ends = turn_ends(model.base.path, template, model.tokenizer)
    params = replace(
        request.params,
        max_tokens=_max_tokens(request, len(token_ids), min(model.context_length, max_sequence_tokens)),
        logit_bias=bias_by_id(request.logit_bias, model.tokenizer),
        stop=(*request.params.stop, *filter(None, [ends.text])),
        stop_ids=ends.ids,
    )
    return ChatPrompt(
        model=model,
        token_ids=token_ids,
        params=params,
        n=request.n,
        ends=ends.ids,
        constraint=_constraint(request, model, ends, form),
        form=form,
        calls_anywhere=request.tool_choice.mode is ToolMode.AUTO and request.answer is None,
    )


def _template_of(model: ServedModel) -> ChatTemplate:
    try:
        template = _template(model.base.path)
    except WeightsError as error:
        raise UnavailableError(
            f"The model '{model.id}' cannot chat now: {error.message}", param="model", code="model_not_available"
        ) from error
    if template is None:
        raise NotFoundError(
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use "
            f"v1/completions? ('{model.id}' has no chat template.)",
            param="model",
        )
    return template


@lru_cache(maxsize=8)
def _template(folder: Path) -> ChatTemplate | None:
    return ChatTemplate.of(folder)


def _form(request: ChatRequest, model: ServedModel, template: ChatTemplate) -> ToolForm:
    if not template.takes_tools:
        raise InvalidRequestError(
            f"'tools' is not supported with the model '{model.id}': its chat template has no place for them.",
            param="tools",
        )
    form = tool_form(template)
    if form is None:
        raise InvalidRequestError(
            f"'tools' is not supported with the model '{model.id}': its chat template writes calls in a form that is "
            "not a name followed by JSON arguments.",
            param="tools",
        )
    if request.answer is not None and not form.trigger and request.tool_choice.mode is ToolMode.AUTO:
        raise InvalidRequestError(
            f"'response_format' and 'tools' do not go together with the model '{model.id}': it writes its calls as "
            "bare JSON, which could not be told from such an answer.",
            param="response_format",
        )
    return form


def _check_taken(messages: tuple[Message, ...], model: ServedModel, template: ChatTemplate) -> None:
    for at, message in enumerate(messages):
        if "name" in message and not template.takes_names:
            raise InvalidRequestError(
                f"The chat template of '{model.id}' has no place for an author's name. Leave it out, or write it into "
                "the content.",
                param=f"messages.{at}.name",
            )
        if (message["role"] == "tool" or message.get("tool_calls")) and not template.takes_tools:
            raise InvalidRequestError(
                f"The chat template of '{model.id}' has no place for calls of tools and their answers.",
                param=f"messages.{at}",
            )


def _tool_object(tool: Any) -> Mapping[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _max_tokens(request: ChatRequest, prompt: int, context: int) -> int:
    """Most tokens of an answer: those asked for, or all that are left.

    Raises:
        InvalidRequestError: they do not fit.
    """
    sentence = f"This model's maximum context length is {context} tokens. However, "
    if request.max_tokens is None:
        if prompt >= context:
            raise InvalidRequestError(
                f"{sentence}your messages resulted in {prompt} tokens. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )
        return context - prompt
    if prompt + request.max_tokens > context:
        raise InvalidRequestError(
            f"{sentence}you requested {prompt + request.max_tokens} tokens ({prompt} in the messages, "
            f"{request.max_tokens} in the completion). Please reduce the length of the messages or completion.",
            param="messages",
            code="context_length_exceeded",
        )
    return request.max_tokens


def _constraint(request: ChatRequest, model: ServedModel, ends: TurnEnds, form: ToolForm | None) -> Constraint | None:
    if form is not None:
        grammar = tool_grammar(form, request.tools, request.tool_choice, request.answer, model.tokenizer)
        param = "tools"
    elif request.answer is not None:
        grammar, param = json_grammar(request.answer), "response_format"
    else:
        return None
    if not ends.ids:
        raise InvalidRequestError(
            f"'{model.id}' has no token that ends a text, so its answers cannot be held to a form.", param=param
        )
    try:
        return Constraint.compile(grammar, model.tokenizer, ends.ids)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"The form of the answer cannot be followed: {error.message}", param=param) from None
