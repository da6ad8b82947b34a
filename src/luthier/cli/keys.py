"""`luthier keys`: who may call this server. The commands work on its database, so a server need not run."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import render
from luthier.errors import InvalidRequestError

if TYPE_CHECKING:
    from luthier.domain.key import ApiKey
    from luthier.services.keys import KeyService

_UNITS = {"m": 60, "h": 3600, "d": 86400}  # seconds

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys that callers of this server need.")


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whom or what the key is for.")],
    scopes: Annotated[
        str, typer.Option(help="What it may do: read, infer, train, admin; several with commas.")
    ] = "read,infer,train",
    expires: Annotated[
        str | None, typer.Option(help="When it ends: after a time such as 12h or 90d, or on a date such as 2027-01-31.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Most requests in a minute.", min=1)] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="Most tokens in a minute, read and generated.", min=1)
    ] = None,
) -> None:
    """Make a key and print it, this once. From the first key on, callers need one."""
    from luthier.domain.key import Scope

    words = [word.strip() for word in scopes.split(",") if word.strip()]
    for word in words:
        if word not in set(Scope):
            raise InvalidRequestError(f"'{word}' is no scope. There are {', '.join(Scope)}.", param="scopes")
    with key_service() as service:
        key, secret = service.create(
            name,
            [Scope(word) for word in words],
            expires_at=None if expires is None else _moment(expires),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    render.say(
        f"Key '{key.name}' ({key.id}), for {', '.join(key.scopes)}. Keep it: it is not shown again.", stderr=True
    )
    print(secret)


@keys.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False) -> None:
    """List the keys, revoked and expired ones too. What is kept of a key itself is its last four letters."""
    with key_service() as service:
        found = service.list()
    if as_json:
        render.show_json([_card(key) for key in found])
    elif found:
        columns = ("Key", "Name", "Ends in", "Scopes", "A minute", "Created", "Expires", "Status")
        render.console().print(render.table(columns, (_row(key) for key in found)))
    else:
        render.say("There is no key: whoever reaches the server may call it. Make one with `luthier keys create NAME`.")


@keys.command("revoke")
def revoke(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of keys, as the list has them.")],
) -> None:
    """Take keys back. A running server refuses them from its next request on."""
    with key_service() as service:
        for name in names:
            key = service.revoke(name)
            render.say(f"Revoked '{key.name}' ({key.id}).")


@contextmanager
def key_service() -> "Iterator[KeyService]":
    """The keys of this machine's server, as long as the context lasts."""
    from luthier.config import load_settings
    from luthier.services.keys import KeyService
    from luthier.storage.db import Database
    from luthier.storage.keys import KeyStore

    database = Database.open(load_settings())
    try:
        yield KeyService(KeyStore(database))
    finally:
        database.close()


def _moment(text: str) -> int:
    """Unix seconds of a time from now, or of the beginning of a day (UTC).

    Raises:
        InvalidRequestError: neither.
    """
    if span := re.fullmatch(r"(\d{1,6})([mhd])", text):
        return int(time.time()) + int(span[1]) * _UNITS[span[2]]
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError(
            f"'{text}' is no time. Write 30m, 12h or 90d from now, or a date such as 2027-01-31.", param="expires"
        ) from None
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())


def _status(key: "ApiKey") -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "valid"


def _row(key: "ApiKey") -> tuple[str, ...]:
    limits = ((key.requests_per_minute, "requests"), (key.tokens_per_minute, "tokens"))
    return (
        key.id,
        key.name,
        key.hint,
        ", ".join(key.scopes),
        ", ".join(f"{limit:,} {what}" for limit, what in limits if limit is not None) or "no limit",
        render.moment(key.created_at),
        "never" if key.expires_at is None else render.moment(key.expires_at),
        _status(key),
    )


def _card(key: "ApiKey") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "status": _status(key),
    }
