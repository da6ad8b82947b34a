"""What becomes of a customization: a model that is kept, files, words in the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli import render
from luthier.cli.customize_options import ResultOptions
from luthier.cli.outputs import PageOutput
from luthier.durable import whole_file
from luthier.errors import DataError, InvalidRequestError

if TYPE_CHECKING:
    from luthier.toolkit.customize import Customization
    from luthier.toolkit.customize_search import Search


class Keeper:
    """Keeps a result as a model. Whether it can is found out before the work: by its making, and by `ready`."""

    def __init__(self, model: str, name: str, replace: bool) -> None:
        from luthier.config import load_settings
        from luthier.embedding.projection import MARK, CustomModels, custom_name

        self._settings = load_settings()
        if MARK in model:
            raise InvalidRequestError(f"'{model}' is customized already. Customize '{model.partition(MARK)[0]}' anew.")
        self.id = custom_name(model, name)
        self._model, self._replace = model, replace
        self._store = CustomModels(self._settings)
        if not replace:
            self._store.refuse_taken(self.id)

    def ready(self) -> None:
        """
        Raises:
            LuthierError: the weights that the model would stand on cannot be had.
        """
        from luthier.modeling.bases import BaseStore
        from luthier.modeling.encoder_card import EncoderCard

        self._base = BaseStore(self._settings).ensure(self._model)
        self._width = EncoderCard.read(self._base.path).dimensions

    def keep(self, made: "Customization") -> Path:
        from luthier.embedding.projection import CustomModel, revision_of

        width, dimensions = made.matrix.shape
        if width != self._width:
            raise DataError(
                f"The embeddings have {width} numbers, and those of '{self._model}' {self._width}: they are another "
                "model's. Name it with -m."
            )
        card = CustomModel(
            id=self.id,
            base=self._model,
            key=self._base.key,
            revision=revision_of(self._base),
            width=width,
            dimensions=dimensions,
            threshold=made.learned.threshold,
            created_at=0,
            figures={"before": made.before.as_dict(), "after": made.after.as_dict()},
        )
        return self._store.save(card, made.matrix, replaces=self._replace)


def finish(
    made: "Customization",
    search: "Search",
    keeper: Keeper | None,
    file: Path,
    result: ResultOptions,
    out: PageOutput,
) -> None:
    """Write what was asked for, and tell what came of it."""
    import numpy as np

    kept = keeper.keep(made) if keeper else None
    if result.matrix is not None:
        with whole_file(result.matrix) as fresh, fresh.open("wb") as opened:
            np.save(opened, made.matrix)
    if result.results is not None:
        result.results.mkdir(parents=True, exist_ok=True)
        for number, run in enumerate(made.learned.runs):
            table = run.table(number, search.max_epochs)
            with whole_file(result.results / f"{number}_optimization_results.csv") as target:
                table.to_csv(target, index=False)
    if out.report is not None:
        from luthier.reports.customizing import customizing_page

        customizing_page(made, file.name).write(out.report)
    if out.as_json:
        model = {"model": keeper.id, "folder": str(kept)} if keeper else {}
        render.show_json({**model, **made.as_dict()})
        return
    _tell(made)
    if keeper:
        render.say(f"\nKept as {keeper.id}: ask it at /v1/embeddings, or with -m here.")


def _tell(made: "Customization") -> None:
    dropped = f", {made.n_dropped} left out for a text of a test row" if made.n_dropped else ""
    render.say(f"{made.n_train:,} rows to learn from{dropped}; {len(made.labels):,} pairs to test on.")
    rows = [
        (when, str(side.chosen), f"{side.chosen.threshold:.3f}", str(side.best), f"{side.best.threshold:.3f}")
        for when, side in (("before", made.before), ("after", made.after))
    ]
    columns = ("Test rows", "Accuracy", "Threshold", "At the best threshold", "which is")
    render.console().print(render.table(columns, rows, right=columns[1:]))
    run = made.learned.runs[made.learned.chosen]
    learnt = (
        f"batch size {run.recipe.batch_size}, rate {run.recipe.learning_rate:g}, dropout {run.recipe.dropout:g}, "
        f"{run.epoch} epochs, from "
        if run.recipe.batch_size
        else ""
    )
    found = f"{learnt}whitening {run.recipe.whitening:g}"
    if not learnt and not run.recipe.whitening:
        found = "the embeddings as they are"
    ended = "Ended early; the best until then" if made.learned.interrupted else "The best"
    render.say(
        f"{ended} of {len(made.learned.runs)} runs: {found}; {made.matrix.shape[0]} numbers become "
        f"{made.matrix.shape[1]}. ± is 1.96 standard errors; the threshold was chosen by training rows."
    )
