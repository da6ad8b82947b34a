"""The old client's `engines.*`: models under their old name."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.remote import Json
from luthier.errors import InvalidRequestError

if TYPE_CHECKING:
    from luthier.cli.client import Client

EngineId = Annotated[str, typer.Option("-i", "--id", help="The engine's name, which is the model's.")]


def engines_list(client: "Client") -> None:
    """List the engines on the server."""
    render.show_json(client.get("engines"))


def engines_get(client: "Client", id: EngineId) -> None:
    """Show an engine."""
    render.show_json(client.get("engines", id))


def engines_update(
    client: "Client",
    id: EngineId,
    replicas: Annotated[int | None, typer.Option("-r", "--replicas", help="1, which every engine has.")] = None,
) -> None:
    """Change an engine, of which there is one replica and cannot be more."""
    render.show_json(client.post("engines", id, body={} if replicas is None else {"replicas": replicas}))


def engines_generate(
    client: "Client",
    id: EngineId,
    stream: Annotated[bool, typer.Option("--stream", help="Show tokens as they come.")] = False,
    context: Annotated[str | None, typer.Option("-c", "--context", help="Text to go on from.")] = None,
    length: Annotated[int | None, typer.Option("-l", "--length", help="Most tokens to generate.")] = None,
    temperature: Annotated[
        float | None, typer.Option("-t", "--temperature", help="0 takes the most likely token.")
    ] = None,
    top_p: Annotated[float | None, typer.Option("-p", "--top-p", help="Share of probability to sample from.")] = None,
    completions: Annotated[int | None, typer.Option("-n", "--completions", help="How many texts.")] = None,
    logprobs: Annotated[int | None, typer.Option("--logprobs", help="Ask for log probabilities too.")] = None,
    stop: Annotated[str | None, typer.Option("--stop", help="Text that ends the generation.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="The engine's name once more.")] = None,
) -> None:
    """Go on from a context; prints it and what follows."""
    if (completions or 1) > 1 and stream:
        raise InvalidRequestError("Several texts cannot be streamed to one terminal: leave out --stream or -n.")
    fields = {
        "context": context,
        "length": length,
        "temperature": temperature,
        "top_p": top_p,
        "completions": completions,
        "logprobs": logprobs,
        "stop": stop,
        "model": model,
    }
    body: Json = {name: value for name, value in fields.items() if value is not None}
    path = ("engines", id, "generate")
    parts = client.stream("POST", *path, body={**body, "stream": True}) if stream else [client.post(*path, body=body)]
    for part in parts:
        for index, text in enumerate(part["data"]):
            if len(part["data"]) > 1:
                sys.stdout.write(f"===== Completion {index} =====\n")
            sys.stdout.write("".join(text["text"]))
            if len(part["data"]) > 1:
                sys.stdout.write("\n")
            sys.stdout.flush()
            if text["logprobs"] and not stream:
                sys.stdout.write("\n")
                render.console().print(render.token_table(text["logprobs"]))
    sys.stdout.write("\n")
