"""Fine-tunes by the old client's words: `fine_tunes.create`, `.follow`, `.list` …; and `luthier tune`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import jobs, render
from luthier.cli.files import get_or_upload
from luthier.cli.remote import Json
from luthier.domain.hyperparameters import Method

if TYPE_CHECKING:
    from luthier.cli.client import Client

JobId = Annotated[str, typer.Option("-i", "--id", help="The fine-tune's id: ft-….")]

TrainingFile = Annotated[str, typer.Option("-t", "--training-file", help="Examples: a path, a URL or a file's id.")]
ValidationFile = Annotated[
    str | None,
    typer.Option("-v", "--validation-file", help="Examples to measure with: a path, a URL or a file's id."),
]
AlwaysUpload = Annotated[
    bool,
    typer.Option(
        "--always-upload",
        "--no-check-if-files-exist",
        help="Upload even when the server has a file of the same name and content.",
    ),
]
NoFollow = Annotated[bool, typer.Option("--no-follow", help="Create the job and return, without watching it.")]


def _option(kind: Any, help: str) -> Any:
    return Annotated[kind, typer.Option(help=help)]


_MODEL = "ada"
_TOP_FIELDS = (
    "training_file",
    "validation_file",
    "model",
    "suffix",
    "seed",
)  # of today's API; others are its method's
# What a fine-tune can be told, by the API's names; None is left to the server.
FIELDS: dict[str, Any] = {
    "model": Annotated[
        str | None,
        typer.Option("-m", "--model", help="Base or tuned model to start from; left out, the server takes curie."),
    ],
    "suffix": _option(str | None, "Becomes part of the tuned model's name; at most 40 characters."),
    "n_epochs": _option(int | None, "Passes over the examples."),
    "batch_size": _option(int | None, "Examples of one optimizer step."),
    "learning_rate_multiplier": _option(float | None, "Factor on the base model's own learning rate."),
    "prompt_loss_weight": _option(float | None, "Weight of a prompt's tokens in the loss; a completion's weigh 1."),
    "compute_classification_metrics": Annotated[
        bool | None,
        typer.Option(
            "--compute-classification-metrics",
            help="Measure accuracy, F1 and others on the validation set after each epoch.",
        ),
    ],
    "classification_n_classes": _option(int | None, "Number of classes, where there are more than two."),
    "classification_positive_class": _option(
        str | None,
        "The positive class of a binary classification, such as ' baseball'.",
    ),
    "classification_betas": _option(list[float] | None, "Betas of the F-beta scores; several values may follow."),
}
# What `tune` has besides, or otherwise.
TUNE_FIELDS: dict[str, Any] = FIELDS | {
    "model": Annotated[
        str | None, typer.Option("-m", "--model", help="Base or tuned model to start from.", show_default=_MODEL)
    ],
    "method": _option(Method | None, "Train a small adapter (lora, the default) or all weights (full)."),
    "lora_rank": _option(int | None, "Width of the adapter."),
    "seed": _option(int | None, "Two runs with one seed are alike."),
    "dpo": Annotated[
        bool | None, typer.Option("--dpo", help="Learn preferences: FILE holds pairs of answers (docs/training.md).")
    ],
    "beta": _option(float | None, "With --dpo: how dear it is to leave the model that training starts from."),
}


def create(
    client: "Client",
    training_file: TrainingFile,
    validation_file: ValidationFile = None,
    always_upload: AlwaysUpload = False,
    no_follow: NoFollow = False,
    **fields: Any,
) -> None:
    """Upload examples, create a fine-tune and follow it."""
    job = _create(client, training_file, validation_file, always_upload, fields)
    if no_follow:
        render.show_json(job)
    else:
        _follow(client, job)


def tune(
    client: "Client",
    file: Annotated[str, typer.Argument(help="Examples from `luthier prepare`: a path, a URL or a file's id.")],
    validation_file: ValidationFile = None,
    always_upload: AlwaysUpload = False,
    no_follow: NoFollow = False,
    **fields: Any,
) -> None:
    """Tune a model on a file of examples: upload, train, watch."""
    fields["model"] = fields["model"] or _MODEL
    if fields["classification_n_classes"] or fields["classification_positive_class"]:
        fields["compute_classification_metrics"] = True
    create = _create_dpo if fields.pop("dpo") or fields["beta"] is not None else _create
    job = create(client, file, validation_file, always_upload, fields)
    if no_follow:
        render.say(job["id"])
    else:
        _follow(client, job)


def _create(
    client: "Client", training_file: str, validation_file: str | None, always_upload: bool, fields: dict[str, Any]
) -> Json:
    return client.post("fine-tunes", body=_body(client, training_file, validation_file, always_upload, fields))


def _create_dpo(
    client: "Client", training_file: str, validation_file: str | None, always_upload: bool, fields: dict[str, Any]
) -> Json:
    """A fine-tune on preferences, of which the first dialect has no words."""
    body = _body(client, training_file, validation_file, always_upload, fields)
    top = {name: body.pop(name) for name in _TOP_FIELDS if name in body}
    return client.post("fine_tuning", "jobs", body={**top, "method": {"type": "dpo", "dpo": {"hyperparameters": body}}})


def _body(
    client: "Client", training_file: str, validation_file: str | None, always_upload: bool, fields: dict[str, Any]
) -> Json:
    body = {name: value for name, value in fields.items() if value not in (None, [])}
    body["training_file"] = get_or_upload(client, training_file, reuse=not always_upload)
    if validation_file is not None:
        body["validation_file"] = get_or_upload(client, validation_file, reuse=not always_upload)
    return body


def _follow(client: "Client", job: Json) -> None:
    render.say(f"Created fine-tune: {job['id']}\n(Ctrl-C stops watching, not the fine-tune)\n")
    jobs.follow_job(client, job["id"])


def fine_tunes_list(client: "Client") -> None:
    """List the fine-tunes, oldest first."""
    render.show_json(client.get("fine-tunes"))


def fine_tunes_get(client: "Client", id: JobId) -> None:
    """Show a fine-tune."""
    render.show_json(jobs.get_job(client, id))


def fine_tunes_events(client: "Client", id: JobId) -> None:
    """List a fine-tune's events to date."""
    jobs.get_job(client, id)
    render.show_json(client.get("fine-tunes", id, "events"))


def fine_tunes_follow(client: "Client", id: JobId) -> None:
    """Watch a fine-tune until it is finished."""
    jobs.follow_job(client, id)


def fine_tunes_results(client: "Client", id: JobId) -> None:
    """Print a fine-tune's results table as CSV."""
    jobs.print_results(client, id)


def fine_tunes_cancel(client: "Client", id: JobId) -> None:
    """Cancel a fine-tune."""
    jobs.get_job(client, id)
    render.show_json(client.post("fine-tunes", id, "cancel"))


def fine_tunes_delete(client: "Client", id: JobId) -> None:
    """Delete a finished fine-tune's record. Its model stays (`models.delete`)."""
    jobs.get_job(client, id)
    render.show_json(client.delete("fine-tunes", id))


def spread_betas(arguments: list[str]) -> list[str]:
    """`--classification_betas 0.5 2`, several values as the old client took them, as one option for each value."""
    spread: list[str] = []
    option = ""  # the option while its values come
    for word in arguments:
        if option and spread[-1] != option and _is_number(word):
            spread.append(option)
        elif spread and spread[-1] != option:
            option = ""
        if word.replace("_", "-") == "--classification-betas":
            option = word
        spread.append(word)
    return spread


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
