"""`luthier prepare FILE`, the old client's `tools fine_tunes.prepare_data`."""

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    file: Annotated[Path, typer.Argument(help="Examples as JSONL, JSON, CSV, TSV, XLSX or TXT.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Ask nothing; take what is recommended.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Ask nothing; print findings and files as one JSON object.")
    ] = False,
    validation: Annotated[
        Path | None, typer.Option("--validation", "-v", help="Your own validation set, to look for leaks into it.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Base model whose tokenizer counts.")] = "ada",
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest example, tokens. By default what the model takes, or 10,000 characters."),
    ] = None,
    n_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data, for the estimates; by default as training chooses."),
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="Training speed, if you know better than the last run here.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="TOML with prices per 1,000 tokens; by default prices.toml in the home folder.")
    ] = None,
) -> None:
    """Check examples, mend them, split them, and say how to go on.

    Writes FILE_prepared.jsonl, or FILE_prepared_train.jsonl and FILE_prepared_valid.jsonl, beside FILE. FILE itself
    stays as it is, and nothing is overwritten.
    """
    from luthier.cli.preparation import Request, run  # pandas is slow to import, and other commands do without

    run(
        Request(
            file=file,
            accept=quiet or as_json,
            as_json=as_json,
            validation=validation,
            model=model,
            max_tokens=max_tokens,
            n_epochs=n_epochs,
            tokens_per_second=tokens_per_second,
            prices=prices,
        )
    )


def prepare_data(
    file: Annotated[Path, typer.Option("--file", "-f", help="Examples as JSONL, JSON, CSV, TSV, XLSX or TXT.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Ask nothing; take what is recommended.")] = False,
) -> None:
    """Check examples, mend them, split them. `luthier prepare` does the same and more."""
    prepare(file, quiet=quiet)
