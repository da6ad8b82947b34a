"""What a chat is asked for beyond sampling: tools that may be called, and the form of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask its caller to call.

    Args:
        name: letters, digits, `_` and `-`.
        description: for the model; None to say nothing.
        parameters: JSON schema of an object: its arguments.
        strict: refuse a schema that cannot be held to the letter; otherwise leave out of it what cannot.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: NO_PARAMETERS)
    strict: bool = False


class ToolMode(StrEnum):
    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


@dataclass(frozen=True)
class ToolChoice:
    """
    Args:
        mode: whether the answer may or must be calls.
        names: of the tools that may be called, None for all.
        parallel: whether one answer may hold several calls.
    """

    mode: ToolMode = ToolMode.AUTO
    names: frozenset[str] | None = None
    parallel: bool = True


@dataclass(frozen=True)
class AnswerFormat:
    """JSON that an answer must be.

    Args:
        schema: a JSON schema.
        name: its name in messages, None for any object at all.
        strict: as of `Tool`.
    """

    schema: Mapping[str, Any]
    name: str | None = None
    strict: bool = False


@dataclass(frozen=True)
class ToolCall:
    """
    Args:
        id: by which the tool's answer refers to it.
        arguments: JSON, as the model wrote it; cut short when the answer ended by its length.
    """

    id: str
    name: str
    arguments: str
