"""Chat completions on the wire: what is asked."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from luthier.domain.chat import NO_PARAMETERS, AnswerFormat, Tool
from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import RequestBody
from luthier.server.wire.completions import StopTexts, StreamOptions
from luthier.server.wire.tool_choice import ToolChoiceBody, tool_choice
from luthier.services.chat import ChatRequest

_SENT_BACK = "Null, as in an answer that the client sends back."
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


class ContentPart(RequestBody):
    title = "A part of a message"

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] != "text":
            raise InvalidRequestError(
                f"A message holds a part of type '{value['type'][:40]}'. Models here read text alone: send parts of "
                "type 'text'.",
                param="messages",
            )
        return value


def _content(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if isinstance(value, list) and value:
        return value
    raise ValueError("must be a string or an array of parts")


class CalledFunction(RequestBody):
    title = "The function of a tool call"

    name: str
    arguments: str = Field(description="JSON, as a string.")


class MessageToolCall(RequestBody):
    title = "A tool call"

    id: str
    type: Literal["function"]
    function: CalledFunction


class MessageBody(RequestBody):
    title = "A message"

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        list[ContentPart],
        BeforeValidator(_content),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"$ref": "#/components/schemas/ContentPart"}},
                ]
            }
        ),
    ] = Field([], description="Text, or parts of type `text`, which are joined by line breaks.")
    name: str | None = Field(default=None, description="Its author. Refused where the template has no place for it.")
    tool_calls: list[MessageToolCall] = Field([], description="Of an assistant: the calls it made.")
    tool_call_id: str | None = Field(default=None, description="Of a tool: the call that it answers.")
    refusal: None = Field(default=None, description=_SENT_BACK)
    annotations: None = Field(default=None, description=_SENT_BACK)
    audio: None = Field(default=None, description=_SENT_BACK)
    function_call: None = Field(default=None, description=_SENT_BACK)

    def to_domain(self, at: int) -> dict[str, Any]:
        """
        Raises:
            InvalidRequestError: a field that the role does not have, or lacks.
        """
        where = f"messages.{at}"
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequestError(f"'{where}' has 'tool_calls', which only an assistant makes.", param=where)
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise InvalidRequestError(
                f"'{where}' must {'not have' if self.tool_call_id is not None else 'have'} a 'tool_call_id': "
                "messages of the role 'tool' have one, and no others.",
                param=f"{where}.tool_call_id",
            )
        if self.name is not None and self.role == "tool":
            raise InvalidRequestError(
                f"'{where}' has a 'name': a tool's is that of the call which 'tool_call_id' names. Leave it out.",
                param=f"{where}.name",
            )
        if not self.content and not self.tool_calls:
            raise InvalidRequestError(f"You must provide the parameter '{where}.content'.", param=f"{where}.content")
        texts = [part.text for part in self.content]
        message: dict[str, Any] = {"role": self.role, "content": "\n".join(texts) if texts else None}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        optional = {"name": self.name, "tool_call_id": self.tool_call_id}
        return message | {key: value for key, value in optional.items() if value is not None}


class FunctionBody(RequestBody):
    title = "A function"

    name: str
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, WithJsonSchema(_ANY_OBJECT)] = Field(
        default=None, description="JSON schema of an object; left out, the function takes no arguments."
    )
    strict: bool = Field(
        default=False, description="Refuse a schema that cannot be held to the letter, instead of what is left of it."
    )


class ToolBody(RequestBody):
    title = "A tool"

    type: Literal["function"]
    function: FunctionBody

    def to_domain(self) -> Tool:
        function = self.function
        parameters = NO_PARAMETERS if function.parameters is None else function.parameters
        return Tool(function.name, function.description, parameters, function.strict)


class JsonSchemaBody(RequestBody):
    title = "A JSON schema"

    name: str = Field(description="For messages about the schema.")
    schema_: Annotated[dict[str, Any], WithJsonSchema(_ANY_OBJECT)] = Field(alias="schema")
    strict: bool = Field(default=False, description="As of a function.")


class ResponseFormatBody(RequestBody):
    title = "A response format"

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaBody | None = None

    def to_domain(self) -> AnswerFormat | None:
        """
        Raises:
            InvalidRequestError: a schema is missing, or goes with another type.
        """
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise InvalidRequestError(
                "'response_format' has a 'json_schema' exactly when its 'type' is 'json_schema'.",
                param="response_format.json_schema",
            )
        if self.json_schema is not None:
            return AnswerFormat(self.json_schema.schema_, self.json_schema.name, self.json_schema.strict)
        return AnswerFormat({"type": "object"}) if self.type == "json_object" else None


_REFUSED = {
    "functions": "Send 'tools' instead; this server does not take the older form.",
    "function_call": "Send 'tool_choice' instead; this server does not take the older form.",
}


class ChatBody(RequestBody):
    title = "A chat completion"

    model: str
    messages: list[MessageBody]
    max_completion_tokens: int | None = Field(
        default=None, description="Most tokens to generate; left out, as many as the model's context has room for."
    )
    max_tokens: int | None = Field(default=None, description="The older name of `max_completion_tokens`.")
    temperature: float = 1.0
    top_p: float = 1.0
    n: int = Field(default=1, description="Answers to generate.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: bool = Field(default=False, description="Report the log probabilities of the answer's tokens.")
    top_logprobs: int | None = Field(default=None, description="And so many of the likeliest at each place, to 20.")
    stop: StopTexts = Field([], description="Texts that end the answer; they are not part of it.")
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[str, float] = Field(default={}, description="Token id of this model → number added to its logit.")
    seed: int | None = None
    response_format: ResponseFormatBody | None = None
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = Field(default=None, description="Whether an answer may hold several calls.")
    modalities: list[Literal["text"]] | None = Field(default=None, description="`text` is all that there is.")
    store: Literal[False] = Field(default=False, description="Chats are not kept here.")
    user: str | None = Field(default=None, description="Written to the server's log beside the request's id.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_older_forms(cls, value: Any) -> Any:
        for name, hint in _REFUSED.items():
            if isinstance(value, dict) and value.get(name) is not None:
                raise InvalidRequestError(f"'{name}' is not supported. {hint}", param=name)
        return value

    def to_domain(self) -> ChatRequest:
        """
        Raises:
            InvalidRequestError: fields that do not go together.
        """
        self._check_pairs()
        field = "max_completion_tokens" if self.max_tokens is None else "max_tokens"
        params = SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            stop=tuple(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
        )
        return ChatRequest(
            model=self.model,
            messages=tuple(message.to_domain(at) for at, message in enumerate(self.messages)),
            params=params,
            max_tokens=getattr(self, field),
            max_tokens_field=field,
            n=self.n,
            logit_bias=self.logit_bias,
            tools=tuple(tool.to_domain() for tool in self.tools or ()),
            tool_choice=tool_choice(self.tool_choice, parallel=self.parallel_tool_calls is not False),
            answer=self.response_format.to_domain() if self.response_format else None,
        )

    def _check_pairs(self) -> None:
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError("'stream_options' go with 'stream': true.", param="stream_options")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequestError("'top_logprobs' goes with 'logprobs': true.", param="top_logprobs")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise InvalidRequestError(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                param="max_tokens",
            )
        if self.tools is not None and not self.tools:
            raise InvalidRequestError("[] is too short - 'tools'", param="tools")
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(self, name) is not None and self.tools is None:
                raise InvalidRequestError(f"'{name}' is only allowed when 'tools' are specified.", param=name)
