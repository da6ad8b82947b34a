"""Pictures of what was learnt."""

import numpy as np
import pytest

from luthier.reports.learning import precision_recall_figure
from luthier.toolkit.scores import PrecisionRecall


@pytest.mark.parametrize(
    ("count", "drawn", "title"),
    [(7, 7, "Precision and recall"), (9, 7, "Precision and recall, the first 7 of the 9 classes that occur")],
)
def test_a_precision_recall_picture_says_when_it_leaves_classes_out(count: int, drawn: int, title: str) -> None:
    def curve(name: str, area: float) -> PrecisionRecall:
        return PrecisionRecall(name, np.array([1.0, 0.5]), np.array([0.0, 1.0]), area)

    figure = precision_recall_figure([*(curve(f"<class {n}>", 0.9) for n in range(count)), curve("all", 0.8)])
    assert figure.layout.title.text == title
    names = [trace.name for trace in figure.data]
    assert names == [*(f"&lt;class {n}&gt; (0.90)" for n in range(drawn)), "all (0.80)"]
    assert figure.data[-1].line.width > figure.data[0].line.width
