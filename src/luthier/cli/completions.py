"""Completions: the old client's `completions.create`, and `luthier complete`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.remote import Json
from luthier.errors import InvalidRequestError

if TYPE_CHECKING:
    from luthier.cli.client import Client

MaxTokens = Annotated[int | None, typer.Option("-M", "--max-tokens", help="Most tokens to generate.")]
Temperature = Annotated[float | None, typer.Option("-t", "--temperature", help="0 takes the most likely token.")]
TopP = Annotated[float | None, typer.Option("-P", "--top-p", help="Share of probability to sample from.")]
Count = Annotated[int | None, typer.Option("-n", "--n", help="How many completions.")]
Logprobs = Annotated[
    int | None, typer.Option("--logprobs", help="Report log probabilities, with this many of the likeliest tokens.")
]
Stream = Annotated[bool, typer.Option("--stream", help="Show tokens as they come.")]


def completions_create(
    client: "Client",
    engine: Annotated[str | None, typer.Option("-e", "--engine", help="The model, by its old name.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="The model.")] = None,
    stream: Stream = False,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="Text to go on from.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    n: Count = None,
    logprobs: Logprobs = None,
    stop: Annotated[str | None, typer.Option("--stop", help="Text that ends the completion.")] = None,
) -> None:
    """Complete a prompt; prints the prompt and what follows."""
    if (n or 1) > 1 and stream:
        raise InvalidRequestError("Several completions cannot be streamed to one terminal: leave out --stream or -n.")
    fields = {
        "model": model or engine,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "n": n,
        "logprobs": logprobs,
        "stop": stop,
    }
    body = {name: value for name, value in fields.items() if value is not None} | {"echo": True}
    if stream:
        _show_stream(client, body)
    else:
        _show_choices(client.post("completions", body=body)["choices"])


def complete(
    client: "Client",
    model: Annotated[str, typer.Argument(help="The model: ada, ada:ft-….", show_default=False)],
    prompt: Annotated[str, typer.Argument(help="Text to go on from; - reads it from standard input.")],
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    n: Count = None,
    logprobs: Logprobs = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="Text that ends it; may be given often.")] = None,
    echo: Annotated[bool, typer.Option("--echo", help="Show the prompt too.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Two calls with one seed are alike.")] = None,
) -> None:
    """Complete a prompt with a model."""
    fields = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "n": n,
        "logprobs": logprobs,
        "stop": stop or None,
        "seed": seed,
    }
    body: Json = {"model": model, "prompt": sys.stdin.read() if prompt == "-" else prompt, "echo": echo}
    body |= {name: value for name, value in fields.items() if value is not None}
    if (n or 1) == 1 and logprobs is None:
        _show_stream(client, body)
        return
    choices = client.post("completions", body=body)["choices"]
    _show_choices(choices)
    for choice in choices:
        if choice.get("logprobs"):
            render.console().print(render.token_table(choice["logprobs"]))


def _show_stream(client: "Client", body: Json) -> None:
    for part in client.stream("POST", "completions", body=body | {"stream": True}):
        for choice in part["choices"]:
            sys.stdout.write(choice["text"])
            sys.stdout.flush()
    sys.stdout.write("\n")


def _show_choices(choices: list[Json]) -> None:
    for choice in sorted(choices, key=lambda choice: choice["index"]):
        if len(choices) > 1:
            sys.stdout.write(f"===== Completion {choice['index']} =====\n")
        sys.stdout.write(choice["text"] + "\n")
