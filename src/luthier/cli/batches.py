"""`luthier batches`: files of requests, answered in the background."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.files import get_or_upload
from luthier.cli.remote import Json
from luthier.durable import check_target, whole_file
from luthier.errors import InvalidRequestError, LuthierError

if TYPE_CHECKING:
    from luthier.cli.client import Client

FINAL = ("completed", "failed", "expired", "cancelled")
RESUMABLE = ("expired", "cancelled")
_LOOK_SECONDS = 1.0  # between two looks at a batch that is waited for
_SHOWN_ERRORS = 10

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id: batch_….", show_default=False)]


def create_batch(
    client: "Client",
    file: Annotated[str, typer.Argument(metavar="FILE", help="File of requests: a path, a URL or a file id.")],
    endpoint: Annotated[
        str | None, typer.Option("-e", "--endpoint", help="Where they go; otherwise the `url` of the first line.")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="KEY=VALUE", help="A pair of your own; may come often."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it is over. Ctrl-C leaves it running.")] = False,
) -> None:
    """Have the requests of a file answered in the background."""
    pairs = dict(_pair(text) for text in metadata or [])
    file_id = get_or_upload(client, file, purpose="batch")
    body: Json = {
        "input_file_id": file_id,
        "endpoint": endpoint or _first_url(client, file_id),
        "completion_window": "24h",
        "metadata": pairs,
    }
    batch = client.post("batches", body=body)
    render.say(f"Created {batch['id']}")
    if wait:
        _watch(client, batch)
    else:
        render.say(f"See how far it is: luthier batches get {batch['id']}")


def get_batch(
    client: "Client",
    batch: BatchId,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it is over. Ctrl-C leaves it running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show a batch: how far it is, its files, and what is wrong with it."""
    found = client.get("batches", batch)
    if wait:
        found = _watch(client, found, quiet=as_json)
    if as_json:
        render.show_json(found)
    elif not wait:
        _show(found)


def list_batches(
    client: "Client", as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """List the batches, newest first."""
    found: list[Json] = []
    page: Json = {"has_more": True}
    while page["has_more"]:
        after = {"after": found[-1]["id"]} if found else {}
        page = client.get("batches", params={"limit": "100", **after})
        found += page["data"]
    if as_json:
        render.show_json(found)
    elif found:
        rows = (
            (one["id"], one["status"], one["endpoint"], _progress(one), render.moment(one["created_at"]))
            for one in found
        )
        render.console().print(render.table(("Batch", "Status", "Endpoint", "Answered", "Created"), rows))
    else:
        render.say("No batches yet. `luthier batches create FILE` starts one.")


def cancel_batch(client: "Client", batch: BatchId) -> None:
    """Stop a batch. What it has answered stays."""
    render.say(f"{batch} is {client.post('batches', batch, 'cancel')['status']}.")


def resume_batch(
    client: "Client",
    batch: BatchId,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it is over. Ctrl-C leaves it running.")] = False,
) -> None:
    """Let a batch that was cancelled or has expired go on. What it has answered stays."""
    resumed = client.post("batches", batch, "resume")
    render.say(f"{batch} is {resumed['status']}.")
    if wait:
        _watch(client, resumed)


def batch_results(
    client: "Client",
    batch: BatchId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write them here; otherwise they are printed.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="The refusals, not the answers.")] = False,
) -> None:
    """Fetch a batch's answers, one JSON object a line."""
    found = client.get("batches", batch)
    file_id = found["error_file_id" if errors else "output_file_id"]
    if file_id is None:
        what = "refusals" if errors else "answers"
        over = found["status"] in FINAL
        raise LuthierError(
            f"{batch} has no {what}: it is {found['status']}."
            + ("" if over else f" They are there when it is over: luthier batches get {batch} --wait")
        )
    if output is None:
        for piece in client.content(file_id):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    check_target(output)
    with whole_file(output) as file, file.open("wb") as target:
        for piece in client.content(file_id):
            target.write(piece)
    render.say(f"Wrote {output}")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InvalidRequestError(f"--metadata takes KEY=VALUE, not '{text}'.")
    return key, value


def _first_url(client: "Client", file_id: str) -> str:
    """Where the first request of a file goes."""
    import json

    start = b""
    for piece in client.content(file_id):
        start += piece
        if b"\n" in start:
            break
    try:
        return str(json.loads(start.partition(b"\n")[0])["url"])
    except (ValueError, KeyError, TypeError):
        raise InvalidRequestError(
            "The first line of the file is no request with a `url`. Say with --endpoint where the requests go."
        ) from None


def _watch(client: "Client", batch: Json, *, quiet: bool = False) -> Json:
    """Show the progress until the batch is over, and then what came of it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=render.console(stderr=True), transient=True, disable=quiet) as progress:
        bar = progress.add_task(batch["status"], total=None)
        while batch["status"] not in FINAL:
            counts = batch["request_counts"]
            progress.update(
                bar,
                description=batch["status"],
                completed=counts["completed"] + counts["failed"],
                total=counts["total"] or None,
            )
            time.sleep(_LOOK_SECONDS)
            batch = client.get("batches", batch["id"])
    if not quiet:
        _show(batch)
    return batch


def _progress(batch: Json) -> str:
    counts = batch["request_counts"]
    failed = f", {counts['failed']:,} refused" if counts["failed"] else ""
    return f"{counts['completed']:,} of {counts['total']:,}{failed}"


def _show(batch: Json) -> None:
    rows = [
        ("Batch", batch["id"]),
        ("Status", batch["status"]),
        ("Endpoint", batch["endpoint"]),
        ("Model", batch["model"]),
        ("Answered", _progress(batch)),
        ("Tokens", f"{batch['usage']['input_tokens']:,} read, {batch['usage']['output_tokens']:,} generated"),
        ("Requests", batch["input_file_id"]),
        ("Answers", batch["output_file_id"]),
        ("Refusals", batch["error_file_id"]),
        *((name.removesuffix("_at").replace("_", " "), _moment(batch[name])) for name in batch if name.endswith("_at")),
        *(batch["metadata"] or {}).items(),
    ]
    render.console().print(render.details([(name, value) for name, value in rows if value is not None]))
    errors = (batch["errors"] or {"data": []})["data"]
    for error in errors[:_SHOWN_ERRORS]:
        render.say((f"Line {error['line']}: " if error["line"] else "") + error["message"], style="red")
    if len(errors) > _SHOWN_ERRORS:
        render.say(f"… and {len(errors) - _SHOWN_ERRORS} more; --json shows them.", style="red")
    if batch["output_file_id"]:
        render.say(f"luthier batches results {batch['id']} -o answers.jsonl   fetches the answers")
    if batch["status"] in RESUMABLE:
        render.say(f"luthier batches resume {batch['id']}   goes on with the requests that have no answer")


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else render.moment(seconds)
