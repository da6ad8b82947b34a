"""Options that several commands share, stated once: a command takes a group of them as one value."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from typer.models import ArgumentInfo

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Makes a command of a function some of whose parameters are groups: dataclasses whose fields are options.

    A group's arguments stand where the group stands among the function's parameters, and its options after the
    function's own.
    """
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        if not is_dataclass(parameter.annotation):
            own.append(parameter.replace(kind=_KEYWORD))
            continue
        groups[parameter.name] = (parameter.annotation, [field.name for field in fields(parameter.annotation)])
        for field in fields(parameter.annotation):
            kind: Any = field.type
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            is_argument = any(isinstance(told, ArgumentInfo) for told in kind.__metadata__)
            into = own if is_argument else shared
            into.append(inspect.Parameter(field.name, _KEYWORD, default=default, annotation=kind))

    def command(**given: Any) -> None:
        made = {name: group(**{field: given.pop(field) for field in of}) for name, (group, of) in groups.items()}
        function(**made, **given)

    return as_command(command, function, [*own, *shared])


def as_command(
    command: Callable[..., None], function: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Gives `command` the name and the words of `function`, and the parameters that typer is to see."""
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
