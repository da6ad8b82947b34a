"""The old client's `models.*`: what the server can answer with."""

from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render

if TYPE_CHECKING:
    from luthier.cli.client import Client

ModelId = Annotated[str, typer.Option("-i", "--id", help="The model's name.")]


def models_list(client: "Client") -> None:
    """List the models on the server."""
    render.show_json(client.get("models"))


def models_get(client: "Client", id: ModelId) -> None:
    """Show a model."""
    render.show_json(client.get("models", id))


def models_delete(client: "Client", id: ModelId) -> None:
    """Delete a tuned model."""
    render.show_json(client.delete("models", id))
