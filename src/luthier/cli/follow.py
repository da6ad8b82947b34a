"""Watching a job: its events as they come, through broken connections, with a bar where there is a terminal."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from luthier.cli import render
from luthier.cli.client import Client, base_url
from luthier.cli.remote import Json
from luthier.errors import LuthierError, UnavailableError

_PATIENCE = 300.0  # seconds without a server before we stop trying
_PAUSE = (0.5, 5.0)  # seconds between two tries: first, longest


def events(
    client: Client,
    job_id: str,
    on_break: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Json]:
    """Each event of a job once, until the job is finished.

    A stream that breaks is asked for again, from a server that restarts too; what was seen is not repeated.

    Args:
        on_break: told why, once each time the connection is lost.

    Raises:
        UnavailableError: the first connection failed, or the server stayed away for five minutes.
        LuthierError: the server refused.
    """
    seen: set[Any] = set()
    answered = False  # whether the server ever did
    lost: float | None = None  # since when it is away
    pause = _PAUSE[0]
    while True:
        try:
            for event in client.stream("GET", "fine-tunes", job_id, "events", params={"stream": "true"}):
                answered, lost, pause = True, None, _PAUSE[0]
                key = event.get("id") or (event["created_at"], event["message"])
                if key not in seen:
                    seen.add(key)
                    yield event
            if client.get("fine-tunes", job_id)["status"] in render.FINAL:
                return
        except UnavailableError as error:
            if not answered or (lost is not None and clock() - lost > _PATIENCE):
                raise
            if lost is None:
                lost = clock()
                on_break(f"{error.message.split('. ')[0].rstrip('.')}. Trying again for {render.duration(_PATIENCE)}…")
        sleep(pause)
        pause = min(2 * pause, _PAUSE[1])


def follow(client: Client, job_id: str) -> Json:
    """Show a job's events until it is finished. Ctrl-C leaves the job running and says how to come back.

    Returns:
        The finished job.

    Raises:
        LuthierError: the job failed or was cancelled; also those of `events`.
        SystemExit: Ctrl-C.
    """
    resume = same_server(client)
    console = render.console()
    news = events(client, job_id, on_break=lambda text: render.say(text, style="yellow", stderr=True))
    try:
        if console.is_terminal:
            _show_bar(console, news)
        else:
            _show_lines(news)
        job = client.get("fine-tunes", job_id)
    except KeyboardInterrupt:
        render.say(
            f"\nStopped watching; {job_id} goes on.\n\n"
            f"  luthier follow {job_id}{resume}    to come back to it\n"
            f"  luthier cancel {job_id}{resume}    to stop it"
        )
        raise SystemExit(0) from None
    except UnavailableError as error:
        raise UnavailableError(
            f"{error.message} Once it runs again the job goes on; come back with: luthier follow {job_id}{resume}"
        ) from None
    _conclude(client, job, resume)
    return job


def same_server(client: Client) -> str:
    """What a command that we name needs after it to reach this server: nothing where it is the default."""
    return "" if client.url == base_url() else f" --url {client.url}"


def _conclude(client: Client, job: Json, resume: str) -> None:
    job_id = job["id"]
    if job["status"] == "cancelled":
        raise LuthierError(f"{job_id} was cancelled.")
    if job["status"] == "failed":
        raise LuthierError(f"{job_id} failed: {failure(job)}")
    render.say(f"\nJob complete! Status: {job['status']} 🎉", style="green")
    if job.get("result_files"):
        results = b"".join(client.content(job["result_files"][0]["id"])).decode()
        for name, value in render.last_metrics(results).items():
            if name.startswith(("validation_", "classification/")):
                render.say(f"  {name:<36}{value:.4f}")
    render.say(
        f"\nTry your model:\n  luthier complete {job['fine_tuned_model']} '<PROMPT>'{resume}\n"
        f"See how the training went:\n  luthier results {job_id} -o results.csv{resume}"
    )


def failure(job: Json) -> str:
    """Why a job failed, in the server's words."""
    error = job.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    told = [event["message"] for event in job.get("events") or [] if event.get("level") == "error"]
    return str(error or (told[-1] if told else "the server gives no reason"))


def _show_lines(stream: Iterator[Json]) -> None:
    for event in stream:
        print(f"[{render.moment(event['created_at'])}] {event['message']}", flush=True)


def _show_bar(console: Console, stream: Iterator[Json]) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task: TaskID = progress.add_task("waiting", total=None, numbers="")
        for event in stream:
            data = event.get("data") or {}
            if event.get("type") == "metrics" and "step" in data:
                progress.update(task, **_bar_fields(data))
            else:
                line = f"[{render.moment(event['created_at'])}] {event['message']}"
                progress.console.print(line, markup=False, soft_wrap=True)


def _bar_fields(data: Json) -> Json:
    """What the bar shows of a metrics event's numbers."""
    numbers = []
    if (loss := data.get("train_loss")) is not None:
        numbers.append(f"loss {loss:.4f}")
    if (left := data.get("seconds_left")) is not None:
        numbers.append(f"{render.duration(left)} left")
    description = f"epoch {data['epoch']}" if "epoch" in data else "training"
    return {
        "completed": data["step"],
        "total": data.get("total_steps"),
        "numbers": "  ".join(numbers),
        "description": description,
    }
