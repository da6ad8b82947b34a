"""The forms in which a chat says which tools may be called: a word, one function's name, or several."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from luthier.domain.chat import ToolChoice, ToolMode
from luthier.server.wire.base import RequestBody


class NamedFunction(RequestBody):
    title = "The function of a tool choice"

    name: str


class NamedTool(RequestBody):
    title = "A tool choice"

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(RequestBody):
    title = "The allowed tools of a tool choice"

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedToolsChoice(RequestBody):
    title = "A tool choice"

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _form(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"({kind})" if kind in ("function", "allowed_tools") else "(word)"


ToolChoiceBody = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("(word)")]
    | Annotated[NamedTool, Tag("(function)")]
    | Annotated[AllowedToolsChoice, Tag("(allowed_tools)")],
    Discriminator(_form),
]


def tool_choice(body: Any, *, parallel: bool) -> ToolChoice:
    """
    Args:
        body: a `ToolChoiceBody`, None for `auto`.
        parallel: whether an answer may hold several calls; one that must call one function calls it once.
    """
    match body:
        case NamedTool():
            return ToolChoice(ToolMode.REQUIRED, frozenset({body.function.name}), parallel=False)
        case AllowedToolsChoice():
            names = frozenset(tool.function.name for tool in body.allowed_tools.tools)
            return ToolChoice(ToolMode(body.allowed_tools.mode), names, parallel=parallel)
        case _:
            return ToolChoice(ToolMode(body or "auto"), parallel=parallel)
