"""The functions that `openai.embeddings_utils` had."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from luthier import embeddings_utils as utils

mpl.use("Agg")


class Passing(Exception):
    status_code = 429


class Lasting(Exception):
    http_status = 400


def today(*errors: Exception) -> Any:
    """A client of today's kind: the embedding of a text is its length; answers come in no order."""
    asked: list[tuple[list[str], str]] = []
    waiting = list(errors)

    def create(input: list[str], model: str) -> Any:
        asked.append((input, model))
        if waiting:
            raise waiting.pop(0)
        items = [SimpleNamespace(index=at, embedding=[float(len(text))]) for at, text in enumerate(input)]
        return SimpleNamespace(data=items[::-1])

    return SimpleNamespace(embeddings=SimpleNamespace(create=create), asked=asked)


def old() -> Any:
    """The old module."""

    def create(input: list[str], engine: str) -> Any:
        return {"data": [{"index": at, "embedding": [len(text), engine]} for at, text in enumerate(input)]}

    return SimpleNamespace(Embedding=SimpleNamespace(create=create))


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(utils.time, "sleep", waits.append)  # type: ignore[attr-defined]
    return waits


def test_embeddings_by_engine_or_model_over_any_client() -> None:
    client = today()
    assert utils.get_embedding("a\nb", engine="e", client=client) == [3.0]
    assert utils.get_embedding("ab", model="m", client=client) == [2.0]
    assert utils.get_embeddings(["a", "bcd"], client=client) == [[1.0], [3.0]]
    assert client.asked == [
        (["a b"], "e"),
        (["ab"], "m"),
        (["a", "bcd"], "text-similarity-babbage-001"),
    ]
    assert utils.get_embeddings(["a", "bcd"], "e", client=old()) == [[1, "e"], [3, "e"]]


def test_long_lists_go_in_several_requests() -> None:
    client = today()
    assert len(utils.get_embeddings(["a"] * 5000, client=client)) == 5000
    assert [len(texts) for texts, _ in client.asked] == [2048, 2048, 904]
    assert utils.get_embeddings([], client=client) == []


def test_what_passes_is_tried_again(no_wait: list[float]) -> None:
    client = today(Passing(), Passing(), ConnectionError())
    assert utils.get_embedding("a", client=client) == [1.0]
    assert len(no_wait) == 3
    assert all(1 <= wait <= 20 for wait in no_wait)
    with pytest.raises(Passing):
        utils.get_embedding("a", client=today(*[Passing() for _ in range(6)]))
    client = today(Lasting())
    with pytest.raises(Lasting):
        utils.get_embedding("a", client=client)
    assert len(client.asked) == 1


def test_coroutines_take_clients_of_both_kinds() -> None:
    plain = today()

    async def create(**fields: Any) -> Any:
        return plain.embeddings.create(**fields)

    waiting = SimpleNamespace(embeddings=SimpleNamespace(create=create))
    for client in (plain, waiting):
        assert asyncio.run(utils.aget_embedding("abc", model="m", client=client)) == [3.0]
        assert asyncio.run(utils.aget_embeddings(["abc", "d"], client=client)) == [[3.0], [1.0]]


def test_similarity_and_distances() -> None:
    assert utils.cosine_similarity([3, 4], [4, 3]) == pytest.approx(24 / 25)
    rows = [[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]
    assert utils.distances_from_embeddings([1.0, 0.0], rows) == pytest.approx([0, 1, 2])
    assert utils.distances_from_embeddings([1.0, 0.0], rows, distance_metric="L1") == pytest.approx([0, 3, 2])
    assert utils.distances_from_embeddings([1.0, 0.0], rows, "L2") == pytest.approx([0, 5**0.5, 2])
    assert utils.distances_from_embeddings([1.0, 0.0], rows, "Linf") == pytest.approx([0, 2, 2])
    assert utils.distances_from_embeddings([1.0], []) == []
    with pytest.raises(ValueError, match="Take one of cosine, L1, L2, Linf"):
        utils.distances_from_embeddings([1.0, 0.0], rows, "l2")
    assert utils.indices_of_nearest_neighbors_from_distances([3, 1, 2]).tolist() == [1, 2, 0]


def test_components() -> None:
    drawn = np.random.default_rng(0).normal(size=(40, 5))
    components = utils.pca_components_from_embeddings(drawn.tolist(), n_components=3)
    assert components.shape == (40, 3)
    assert np.var(components, axis=0).tolist() == sorted(np.var(components, axis=0), reverse=True)
    assert utils.tsne_components_from_embeddings(drawn.tolist(), perplexity=5, max_iter=250).shape == (40, 2)


@pytest.mark.parametrize(("chart", "width"), [(utils.chart_from_components, 2), (utils.chart_from_components_3D, 3)])
def test_charts(chart: Callable[..., Any], width: int) -> None:
    components = np.arange(4 * width).reshape(4, width)
    text = "a text that is longer than thirty characters"
    figure = chart(components, labels=["x", "y", "x", "y"], strings=[text] * 4, mark_size=7, title="T")
    assert [trace.name for trace in figure.data] == ["x", "y"]
    assert figure.data[0].x.tolist() == [0, 2 * width]
    assert figure.data[0].marker.size == 7
    assert figure.data[0].customdata[0].tolist() == ["a text that is longer than<br>thirty characters"]
    assert figure.layout.title.text == "T"
    bare = chart(components, x_title="a", y_title="b")
    assert len(bare.data) == 1
    axes = bare.layout if width == 2 else bare.layout.scene
    assert (axes.xaxis.title.text, axes.yaxis.title.text) == ("a", "b")


def test_precision_and_recall_of_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    from matplotlib import pyplot as plt

    classes = [1, 2, 3]
    drawn = np.random.default_rng(0)
    truth, scores = drawn.choice(classes, 60), drawn.random((60, 3))
    utils.plot_multiclass_precision_recall(scores, truth, classes, "Forest")
    average = average_precision_score(truth[:, None] == np.array(classes), scores, average="micro")
    assert capsys.readouterr().out == f"Forest - Average precision score over all classes: {average:0.2f}\n"
    figure = plt.gcf()
    (axes,) = figure.axes
    assert axes.get_title() == "Forest: Precision-Recall curve for each class"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[:2] == ["iso-f1 curves", f"average Precision-recall (auprc = {average:0.2f})"]
    assert [text.split(" (")[0] for text in legend[2:]] == [f"Precision-recall for class `{name}`" for name in classes]
    plt.close(figure)
