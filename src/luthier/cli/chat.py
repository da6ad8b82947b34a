"""Chat: the old client's `chat_completions.create`, and `luthier chat`."""

import itertools
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.completions import Count, MaxTokens, Stream, Temperature, TopP
from luthier.cli.remote import Json
from luthier.errors import InvalidRequestError

if TYPE_CHECKING:
    from luthier.cli.client import Client

OLD_MAX_TOKENS = 100  # what the old client always asked for
_MESSAGE = ("-g", "--message")


def spread_messages(arguments: list[str]) -> list[str]:
    """`-g user "Hi"`, two values as the old client took them, as one option for each value."""
    spread: list[str] = []
    words = iter(arguments)
    for word in words:
        spread.append(word)
        if word in _MESSAGE:
            pair = list(itertools.islice(words, 2))
            spread += pair if len(pair) < 2 else [pair[0], word, pair[1]]
    return spread


def chat_completions_create(
    client: "Client",
    model: Annotated[str, typer.Option("-m", "--model", help="The model.", show_default=False)],
    message: Annotated[
        list[str],
        typer.Option(
            *_MESSAGE,
            metavar="ROLE CONTENT",
            help="A message: role and content. May be given often.",
            show_default=False,
        ),
    ],
    n: Count = None,
    max_tokens: Annotated[int, typer.Option("-M", "--max-tokens", help="Most tokens to generate.")] = OLD_MAX_TOKENS,
    temperature: Temperature = None,
    top_p: TopP = None,
    stop: Annotated[str | None, typer.Option("--stop", help="Text that ends the answer.")] = None,
    stream: Stream = False,
) -> None:
    """Answer a conversation."""
    if (n or 1) > 1 and stream:
        raise InvalidRequestError("Several answers cannot be streamed to one terminal: leave out --stream or -n.")
    if len(message) % 2:
        raise InvalidRequestError('A message is a role and its content: -g user "Hello".')
    messages = [{"role": role, "content": content} for role, content in zip(message[::2], message[1::2], strict=True)]
    fields = {"n": n, "temperature": temperature, "top_p": top_p, "stop": stop}
    body: Json = {"model": model, "messages": messages, "max_tokens": max_tokens}
    body |= {name: value for name, value in fields.items() if value is not None}
    if stream:
        _show_stream(client, body)
    else:
        _show_choices(client.post("chat", "completions", body=body)["choices"])


def chat(
    client: "Client",
    model: Annotated[str, typer.Argument(help="The model: gpt-4o-mini, ft:gpt-4o-mini:….", show_default=False)],
    text: Annotated[str, typer.Argument(help="What to say to it; - reads it from standard input.")],
    system: Annotated[str | None, typer.Option("--system", help="How it is to answer.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    n: Count = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="Text that ends it; may be given often.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Two calls with one seed are alike.")] = None,
) -> None:
    """Ask a model that chats."""
    said = [{"role": "user", "content": sys.stdin.read() if text == "-" else text}]
    body: Json = {"model": model, "messages": [{"role": "system", "content": system}, *said] if system else said}
    fields = {
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "n": n,
        "stop": stop or None,
        "seed": seed,
    }
    body |= {name: value for name, value in fields.items() if value is not None}
    if (n or 1) == 1:
        _show_stream(client, body)
    else:
        _show_choices(client.post("chat", "completions", body=body)["choices"])


def _show_stream(client: "Client", body: Json) -> None:
    for part in client.stream("POST", "chat", "completions", body=body | {"stream": True}):
        for choice in part["choices"]:
            sys.stdout.write(choice["delta"].get("content") or "")
            sys.stdout.flush()
    sys.stdout.write("\n")


def _show_choices(choices: list[Json]) -> None:
    for choice in sorted(choices, key=lambda choice: choice["index"]):
        if len(choices) > 1:
            sys.stdout.write(f"===== Chat Completion {choice['index']} =====\n")
        sys.stdout.write(choice["message"]["content"] + "\n")
