"""Tokens on the wire. Ours; OpenAI's API has no such thing."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.server.wire.base import Answer, RequestBody
from luthier.services.tokens import Reading

_IDS = {"type": "array", "items": {"type": "integer"}}


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("must be a string or an array of strings")


def _lists(value: Any) -> Any:
    if isinstance(value, list) and all(type(item) is int for item in value):
        return [value]
    if isinstance(value, list) and all(isinstance(item, list) for item in value):
        return value
    raise ValueError("must be an array of token ids, or an array of such arrays")


class TokenizeBody(RequestBody):
    title = "Tokenizing"

    model: str
    input: Annotated[
        list[str],
        BeforeValidator(_texts),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field(description="A text, or up to 2,048.")


class DetokenizeBody(RequestBody):
    title = "Detokenizing"

    model: str
    token_ids: Annotated[
        list[list[int]],
        BeforeValidator(_lists),
        WithJsonSchema({"anyOf": [_IDS, {"type": "array", "items": _IDS}]}),
    ] = Field(description="Token ids of one text, or of up to 2,048.")


class TokensObject(Answer):
    """One text. `tokens` are as the `logprobs` of completions show them."""

    object: Literal["tokens"] = "tokens"
    index: int
    text: str
    count: int
    token_ids: list[int]
    tokens: list[str]


class TokensList(Answer):
    """`tokenizer` names the weights whose tokenizer it is; `start_token_ids` are read before every text."""

    object: Literal["list"] = "list"
    model: str
    tokenizer: str
    start_token_ids: list[int]
    data: list[TokensObject]

    @classmethod
    def of(cls, reading: Reading) -> Self:
        data = [
            TokensObject(
                index=index,
                text=item.text,
                count=len(item.token_ids),
                token_ids=list(item.token_ids),
                tokens=list(item.tokens),
            )
            for index, item in enumerate(reading.texts)
        ]
        return cls(
            model=reading.model,
            tokenizer=reading.tokenizer,
            start_token_ids=list(reading.start_token_ids),
            data=data,
        )
