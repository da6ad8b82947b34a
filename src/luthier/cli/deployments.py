"""`luthier deploy`, `deployments`, `undeploy`: models kept in memory under names of one's own."""

from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.remote import Json
from luthier.errors import UnavailableError

if TYPE_CHECKING:
    from luthier.cli.client import Client

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Letters, digits, '.', '_' and '-', up to 64.", show_default=False)
]
_WORDS = {"running": "loading", "succeeded": "ready", "failed": "failed"}


def deploy(
    client: "Client",
    name: Name,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A tuned model, or a base such as ada.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Keep a model in memory, under a name that requests can use. A name that is there answers with the new model."""
    made = client.azure("PUT", "deployments", name, body={"model": model})
    if as_json:
        render.show_json(made)
    elif made["status"] == "failed":
        raise UnavailableError(f"{name} could not be loaded: {made['error']['message']}")
    else:
        render.say(f"{name} answers with {made['model']}; it is {_WORDS[made['status']]}.")


def deployments(
    client: "Client", as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """List the deployments, oldest first."""
    listed = client.azure("GET", "deployments")
    found = listed["data"]
    if as_json:
        render.show_json(listed)
    elif found:
        columns = ("Name", "Model", "State", "Created", "Reason")
        render.console().print(render.table(columns, map(_row, found)))
    else:
        render.say("No deployments yet. `luthier deploy NAME MODEL` makes one.")


def undeploy(client: "Client", name: Name) -> None:
    """Forget a deployment and free its memory. The model stays."""
    client.azure("DELETE", "deployments", name)
    render.say(f"{name} is no deployment any more.")


def _row(deployment: Json) -> tuple[str, ...]:
    reason = deployment.get("error", {}).get("message", "")
    state = _WORDS[deployment["status"]]
    return deployment["id"], deployment["model"], state, render.moment(deployment["created_at"]), reason
