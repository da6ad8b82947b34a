"""`luthier tokens`: how a model reads a text."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL
from luthier.cli.remote import ApiKey, Url, server_of
from luthier.cli.token_table import show_table
from luthier.errors import DataError, InvalidRequestError

_SHOWN_TOKENS = 200
_SHOWN_BIASES = 50


def tokens(
    ctx: typer.Context,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT|FILE]…",
            help="Texts, files to read, or - for standard input, which is read without any too.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help=f"The model whose tokens they are; by default ada, of a table {DEFAULT_MODEL}.",
            show_default=False,
        ),
    ] = None,
    bias: Annotated[
        float | None,
        typer.Option(
            "--bias",
            help="Number in the logit_bias that is printed, -100 to 100; by default 100.",
            min=-100,
            max=100,
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="TEMPLATE",
            help="Count a table, in this process: a column of FILE, or 'Title: {Summary}; Content: {Text}'.",
            show_default=False,
        ),
    ] = None,
    own: Annotated[
        bool, typer.Option("--own", help="Of a table: count as the weights read, not as the API counts.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Of a table: most tokens of a row; by default the model's.", show_default=False
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            help="Of a table: TOML with prices per 1,000 tokens; by default prices.toml in the home folder.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show the tokens of a text: ids, what each stands for, how many; and a logit_bias of them, ready to be sent.

    A label's leading space counts: try ' baseball' and 'baseball'. With --text, count a table instead: tokens in all
    and of a row, rows over the limit, and what they cost.
    """
    if template is not None:
        if texts is None or len(texts) != 1 or bias is not None or url is not None or api_key is not None:
            raise InvalidRequestError("With --text name one FILE, and leave out --bias and the server.")
        model = model or DEFAULT_MODEL
        show_table(Path(texts[0]), template, model=model, own=own, limit=limit, prices=prices, as_json=as_json)
        return
    if own or limit is not None or prices is not None:
        raise InvalidRequestError("--own, --limit and --prices are for a table: name its texts with --text TEMPLATE.")
    bias = 100.0 if bias is None else bias
    named = [_read(text) for text in texts or ["-"]]
    with server_of(ctx, url, api_key) as client:
        answer = client.post("tokenize", body={"model": model or "ada", "input": [text for _, text in named]})
    ids = dict.fromkeys(str(id_) for item in answer["data"] for id_ in item["token_ids"])
    biases = {id_: int(bias) if bias == int(bias) else bias for id_ in ids}
    if as_json:
        files = [{"file": file} if file else {} for file, _ in named]
        data = [{**file, **item} for file, item in zip(files, answer["data"], strict=True)]
        render.show_json({**answer, "data": data, "logit_bias": biases})
        return
    for (file, _), item in zip(named, answer["data"], strict=True):
        _show(file, item)
    if answer["start_token_ids"]:
        render.say(f"Before every text this model reads {answer['start_token_ids']}, which count as prompt tokens.")
    if 0 < len(biases) <= _SHOWN_BIASES:
        render.say(f"logit_bias  {json.dumps(biases)}")


def _read(given: str) -> tuple[str | None, str]:
    """The file that was named, None for a text, and what it holds."""
    if given == "-":
        return None, sys.stdin.read()
    path = Path(given)
    try:
        if not path.is_file():
            return None, given
        return given, path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{given} is not UTF-8 (byte {error.start}).") from None
    except OSError:  # a text too long for a path, or with a null byte on some systems
        return None, given


def _show(file: str | None, item: dict[str, Any]) -> None:
    rows = [
        (str(id_), json.dumps(token, ensure_ascii=False))
        for id_, token in zip(item["token_ids"], item["tokens"], strict=True)
    ]
    if rows:
        render.console().print(render.table(("Id", "Token"), rows[:_SHOWN_TOKENS]))
    if len(rows) > _SHOWN_TOKENS:
        render.say(f"… and {len(rows) - _SHOWN_TOKENS:,} more; --json prints them all.")
    what = file or json.dumps(item["text"] if len(item["text"]) <= 60 else item["text"][:59] + "…", ensure_ascii=False)
    render.say(f"{what}: {item['count']:,} token{'' if item['count'] == 1 else 's'}\n")
