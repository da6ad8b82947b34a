"""What the commands that call a server share: where it is, and the key."""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.grouped import as_command

if TYPE_CHECKING:
    from luthier.cli.client import Client

Json = dict[str, Any]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Server to call; otherwise OPENAI_BASE_URL, OPENAI_API_BASE, or http://127.0.0.1:8080/v1.",
        rich_help_panel="Server",
        show_default=False,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", help="Key to send; otherwise OPENAI_API_KEY.", rich_help_panel="Server", show_default=False
    ),
]


def server_of(ctx: typer.Context, url: str | None, api_key: str | None) -> "Client":
    """The server that a command calls; to be closed."""
    from luthier.cli.client import Client, base_url

    whole = ctx.find_root().params  # the old client took these before the command's name
    key = api_key or whole.get("api_key") or os.environ.get("OPENAI_API_KEY", "")
    return Client(base_url(url or whole.get("url")), key)


def remote(function: Callable[..., Any], options: Mapping[str, Any] | None = None) -> Callable[..., None]:
    """Makes a command of a function whose first parameter is a `Client`.

    The command has the function's other parameters and `--url` and `--api-key`, and closes the client at its end.

    Args:
        options: more options of the command, name → annotated type, that the function takes as `**fields`.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(kind=keyword)
        for parameter in list(inspect.signature(function).parameters.values())[1:]
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    extra = [
        *(inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in (options or {}).items()),
        inspect.Parameter("url", keyword, default=None, annotation=Url),
        inspect.Parameter("api_key", keyword, default=None, annotation=ApiKey),
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
    ]

    def command(*, ctx: typer.Context, url: str | None, api_key: str | None, **arguments: Any) -> None:
        with server_of(ctx, url, api_key) as client:
            function(client, **arguments)

    return as_command(command, function, [*own, *extra])
