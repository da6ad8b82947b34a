"""`luthier`: every command, and how errors are told."""

import sys
import tempfile
import traceback
from typing import Annotated

import typer

from luthier.cli import batches, chat, completions, deployments, engines, files, fine_tunes, jobs, remote_models, render
from luthier.cli.anomalies import dedupe, diversity, outliers
from luthier.cli.cluster import cluster
from luthier.cli.code import code
from luthier.cli.customize import customize
from luthier.cli.embed import embed
from luthier.cli.index import index
from luthier.cli.keys import keys
from luthier.cli.learning import classify, predict, regress
from luthier.cli.map import map_
from luthier.cli.match import match
from luthier.cli.models import models, pull
from luthier.cli.prepare import prepare, prepare_data
from luthier.cli.quickstart import quickstart
from luthier.cli.recommend import recommend
from luthier.cli.remote import remote
from luthier.cli.search import search
from luthier.cli.serve import serve
from luthier.cli.tokens import tokens
from luthier.cli.zero_shot import profiles, zero_shot
from luthier.errors import LuthierError

_TUNING = "Tune"
_MODELS = "Models"
_SERVER = "Server"
_EMBEDDINGS = "Embeddings"

app = typer.Typer(
    name="luthier",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda word: word.replace(
            "_", "-"
        ),  # --n_epochs, as the old client wrote, is --n-epochs
    },
    epilog="The old client's commands work too, with its options: luthier api --help, luthier tools --help.",
)
api = typer.Typer(no_args_is_help=True, help="The old `openai api` commands; the word `api` may be left out.")
tools = typer.Typer(no_args_is_help=True, help="The old `openai tools` commands.")


def _version(wanted: bool) -> None:
    if wanted:
        from luthier import __version__

        print(f"luthier {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    url: Annotated[
        str | None, typer.Option("-b", "--api-base", help="Server to call, as each command's own --url.")
    ] = None,
    api_key: Annotated[str | None, typer.Option("-k", "--api-key", help="Key to send.")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Your own fine-tuning service, speaking the OpenAI API."""


app.command(rich_help_panel=_SERVER)(serve)
app.command(rich_help_panel=_SERVER)(quickstart)
app.add_typer(keys, name="keys", rich_help_panel=_SERVER)

app.command(rich_help_panel=_TUNING)(prepare)
app.command("tune", rich_help_panel=_TUNING)(remote(fine_tunes.tune, fine_tunes.TUNE_FIELDS))
app.command("jobs", rich_help_panel=_TUNING)(remote(jobs.list_jobs))
app.command("job", rich_help_panel=_TUNING)(remote(jobs.show_job))
app.command("follow", rich_help_panel=_TUNING)(remote(jobs.follow_job))
app.command("cancel", rich_help_panel=_TUNING)(remote(jobs.cancel_job))
app.command("pause", rich_help_panel=_TUNING)(remote(jobs.pause_job))
app.command("resume", rich_help_panel=_TUNING)(remote(jobs.resume_job))
app.command("results", rich_help_panel=_TUNING)(remote(jobs.results))
app.command("files", rich_help_panel=_TUNING)(remote(files.list_files))
app.command("rm", rich_help_panel=_TUNING)(remote(jobs.remove))

app.command(rich_help_panel=_MODELS)(models)
app.command(rich_help_panel=_MODELS)(pull)
app.command("deploy", rich_help_panel=_MODELS)(remote(deployments.deploy))
app.command("deployments", rich_help_panel=_MODELS)(remote(deployments.deployments))
app.command("undeploy", rich_help_panel=_MODELS)(remote(deployments.undeploy))
app.command("complete", rich_help_panel=_MODELS)(remote(completions.complete))
app.command("chat", rich_help_panel=_MODELS)(remote(chat.chat))
app.command(rich_help_panel=_MODELS)(tokens)

app.command(rich_help_panel=_EMBEDDINGS)(embed)
app.command("map", rich_help_panel=_EMBEDDINGS)(map_)
app.command(rich_help_panel=_EMBEDDINGS)(cluster)
app.command(rich_help_panel=_EMBEDDINGS)(regress)
app.command(rich_help_panel=_EMBEDDINGS)(classify)
app.command(rich_help_panel=_EMBEDDINGS)(predict)
app.command("zero-shot", rich_help_panel=_EMBEDDINGS)(zero_shot)
app.command(rich_help_panel=_EMBEDDINGS)(profiles)
app.command(rich_help_panel=_EMBEDDINGS)(customize)
app.command(rich_help_panel=_EMBEDDINGS)(recommend)
app.command(rich_help_panel=_EMBEDDINGS)(match)
app.command(rich_help_panel=_EMBEDDINGS)(outliers)
app.command(rich_help_panel=_EMBEDDINGS)(diversity)
app.command(rich_help_panel=_EMBEDDINGS)(dedupe)
app.command(rich_help_panel=_EMBEDDINGS)(search)
app.add_typer(index, name="index", rich_help_panel=_EMBEDDINGS)

batch_commands = typer.Typer(no_args_is_help=True, help="Files of requests, answered in the background.")
batch_commands.command("create")(remote(batches.create_batch))
batch_commands.command("get")(remote(batches.get_batch))
batch_commands.command("list")(remote(batches.list_batches))
batch_commands.command("cancel")(remote(batches.cancel_batch))
batch_commands.command("resume")(remote(batches.resume_batch))
batch_commands.command("results")(remote(batches.batch_results))
app.add_typer(batch_commands, name="batches", rich_help_panel=_MODELS)

app.add_typer(code, name="code", rich_help_panel=_EMBEDDINGS)

_OLD_WORDS = {
    "fine_tunes.create": remote(fine_tunes.create, fine_tunes.FIELDS),
    "fine_tunes.list": remote(fine_tunes.fine_tunes_list),
    "fine_tunes.get": remote(fine_tunes.fine_tunes_get),
    "fine_tunes.follow": remote(fine_tunes.fine_tunes_follow),
    "fine_tunes.events": remote(fine_tunes.fine_tunes_events),
    "fine_tunes.results": remote(fine_tunes.fine_tunes_results),
    "fine_tunes.cancel": remote(fine_tunes.fine_tunes_cancel),
    "fine_tunes.delete": remote(fine_tunes.fine_tunes_delete),
    "files.create": remote(files.files_create),
    "files.list": remote(files.files_list),
    "files.get": remote(files.files_get),
    "files.delete": remote(files.files_delete),
    "models.list": remote(remote_models.models_list),
    "models.get": remote(remote_models.models_get),
    "models.delete": remote(remote_models.models_delete),
    "completions.create": remote(completions.completions_create),
    "engines.list": remote(engines.engines_list),
    "engines.get": remote(engines.engines_get),
    "engines.update": remote(engines.engines_update),
    "engines.generate": remote(engines.engines_generate),
    "chat_completions.create": remote(chat.chat_completions_create),
}
for _word, _command in _OLD_WORDS.items():
    api.command(_word)(_command)
    app.command(_word, hidden=True)(_command)

tools.command("fine_tunes.prepare_data")(prepare_data)

app.add_typer(api, name="api", rich_help_panel="The old client's words")
app.add_typer(tools, name="tools", rich_help_panel="The old client's words")


def main() -> None:
    """Run a command. An error is one line on standard error, and the exit code 1."""
    try:
        app(chat.spread_messages(fine_tunes.spread_betas(sys.argv[1:])), prog_name="luthier")
    except LuthierError as error:
        _tell(error.message)
    except OSError as error:  # a disk that is full, a folder that may not be written
        _tell(f"{error.filename or 'The system'}: {error.strerror or error}")
    except Exception as error:  # the last boundary: a person gets one line, a developer the rest in a file
        _tell(f"{type(error).__name__}: {error}. This is a fault in Luthier; what led to it is in {_trace_file()}")
    sys.exit(1)


def _trace_file() -> str:
    """Write the traceback of the exception at hand to a file, and name it."""
    with tempfile.NamedTemporaryFile("w", prefix="luthier-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return file.name


def _tell(message: str) -> None:
    console = render.console(stderr=True)
    console.print("Error:", style="bold red", end=" ")
    console.print(" ".join(message.split("\n")), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
