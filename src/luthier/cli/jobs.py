"""Jobs by today's words: `luthier jobs`, `job`, `follow`, `cancel`, `results`, `rm`."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.outputs import check_targets
from luthier.cli.remote import Json
from luthier.durable import whole_file
from luthier.errors import DataError, InvalidRequestError, LuthierError, NotFoundError

if TYPE_CHECKING:
    from luthier.cli.client import Client

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The fine-tune's id: ft-….", show_default=False)]


def list_jobs(client: "Client") -> None:
    """List the fine-tunes, oldest first."""
    found = client.get("fine-tunes")["data"]
    if found:
        render.console().print(render.job_table(found))
    else:
        render.say("No fine-tunes yet. `luthier tune FILE` starts one.")


def show_job(client: "Client", job: JobId) -> None:
    """Show a fine-tune: its state, files, hyperparameters and last events."""
    render.console().print(render.job_details(get_job(client, job)))


def follow_job(client: "Client", job: JobId) -> None:
    """Watch a fine-tune until it is finished. Ctrl-C leaves it running."""
    from luthier.cli.follow import follow

    get_job(client, job)
    follow(client, job)


def cancel_job(client: "Client", job: JobId) -> None:
    """Cancel a fine-tune."""
    get_job(client, job)
    answer = client.post("fine-tunes", job, "cancel")
    render.say(f"{job} is {answer['status']}." if answer["status"] == "cancelled" else f"{job} is being cancelled.")


def pause_job(client: "Client", job: JobId) -> None:
    """Pause a fine-tune: it stops at a checkpoint, and others go on."""
    get_job(client, job)
    answer = client.post("fine_tuning", "jobs", job, "pause")
    render.say(f"{job} is paused." if answer["status"] == "paused" else f"{job} is being paused.")


def resume_job(client: "Client", job: JobId) -> None:
    """Let a paused fine-tune go on where it was."""
    get_job(client, job)
    client.post("fine_tuning", "jobs", job, "resume")
    render.say(f"{job} goes on. Watch it with: luthier follow {job}")


def results(
    client: "Client",
    job: JobId,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the table here, and its plot beside it as .png and .html."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the plot as PLOT.png and PLOT.html instead.", metavar="PLOT")
    ] = None,
) -> None:
    """Write a fine-tune's results: a CSV table, and a plot of loss and accuracy.

    Without -o and --plot the table is printed.
    """
    if plot is None and output is None:
        print_results(client, job)
        return
    plots = _plots(output, plot)
    check_targets(output, *plots)
    import pandas

    from luthier.reports import curves

    content = b"".join(client.content(_result_file(client, job)))
    written = []
    if output is not None:
        with whole_file(output) as file:
            file.write_bytes(content)
        written.append(output)
    frame = pandas.read_csv(io.BytesIO(content))
    for target, write in zip(plots, (curves.write_png, curves.write_html), strict=True):
        write(frame, target, title=job)
        written.append(target)
    for name, value in render.last_metrics(content.decode()).items():
        render.say(f"{name:<38}{value:.4f}".rstrip("0").rstrip("."))
    render.say("Wrote " + ", ".join(str(path) for path in written))


def _plots(output: Path | None, plot: Path | None) -> list[Path]:
    """Where the plot goes, as PNG and as HTML.

    Raises:
        DataError: there is no name to make theirs of, or one is the table's.
    """
    named = plot or output
    assert named is not None
    if not named.name:
        raise DataError(f"{named} is a folder. Name a file.")
    stem = named.name if plot is not None else named.stem
    plots = [named.with_name(stem + suffix) for suffix in (".png", ".html")]
    if output in plots:
        raise DataError(f"{output} would be written twice: as the table, and as its plot. Call the table {stem}.csv.")
    return plots


def print_results(client: "Client", job_id: str) -> None:
    """The results table as CSV on standard output, byte for byte."""
    file_id = _result_file(client, job_id)
    for piece in client.content(file_id):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def remove(
    client: "Client",
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of files, fine-tunes or tuned models.")],
) -> None:
    """Delete files, finished fine-tunes or tuned models from the server."""
    for name in ids:
        kind = "files" if name.startswith("file-") else "fine-tunes" if _is_job_id(name) else "models"
        client.delete(kind, name)
        render.say(f"Deleted {name}")


def get_job(client: "Client", job_id: str) -> Json:
    """A fine-tune by its id.

    Raises:
        InvalidRequestError: the id is a file's or a model's; names the fine-tune it belongs to where there is one.
        NotFoundError: no such fine-tune.
    """
    if not _is_job_id(job_id):
        _explain_wrong_id(client, job_id)
    try:
        return client.get("fine-tunes", job_id)
    except NotFoundError as error:
        raise NotFoundError(f"{error.message.rstrip('.')}. `luthier jobs` lists them.") from None


def _is_job_id(name: str) -> bool:
    return name.startswith(("ft-", "ftjob-"))


def _explain_wrong_id(client: "Client", name: str) -> None:
    """Say what kind of id this is, and whose."""
    kind = "a file" if name.startswith("file-") else "a model" if ":" in name else None
    if kind is None:
        return
    owners = [
        (job["id"], role)
        for job in client.get("fine-tunes")["data"]
        for role, ids in _ids_of(job).items()
        if name in ids
    ]
    if not owners:
        raise InvalidRequestError(f"{name} is {kind}, not a fine-tune. `luthier jobs` lists the fine-tunes.")
    told = ", ".join(f"the {role} of {owner}" for owner, role in owners[-3:])
    raise InvalidRequestError(f"{name} is {kind}, not a fine-tune. It is {told}; use {owners[-1][0]}.")


def _ids_of(job: Json) -> dict[str, list[str]]:
    roles = {"training file": "training_files", "validation file": "validation_files", "results file": "result_files"}
    ids = {role: [file["id"] for file in job.get(key) or []] for role, key in roles.items()}
    return ids | {"model": [job.get("fine_tuned_model") or ""]}


def _result_file(client: "Client", job_id: str) -> str:
    job = get_job(client, job_id)
    if not job.get("result_files"):
        raise LuthierError(
            f"{job_id} has no results yet: it is {job['status']}."
            + ("" if job["status"] in render.FINAL else f" Watch it with: luthier follow {job_id}")
        )
    return str(job["result_files"][0]["id"])
