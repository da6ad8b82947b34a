"""What `openai.embeddings_utils` of openai 0.27 had, with the same names, arguments and results.

    from luthier.embeddings_utils import cosine_similarity, get_embedding

Each function that asks for embeddings takes the model's name as `engine` or as `model`, and a `client`: today's
`openai.OpenAI` or `AsyncOpenAI`, Azure's, or the module `openai` itself, old or new. Without one it asks the installed
`openai` as it is configured, or, where none is installed, the server that OPENAI_BASE_URL names.
"""

import asyncio
import inspect
import os
import random
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

MAX_BATCH = 2048  # texts of one request; longer lists go in several

_ATTEMPTS = 6
_WAITS = (1.0, 20.0)  # seconds, the least and the most between two attempts
_METRICS = {"cosine": "cosine", "L1": "cityblock", "L2": "euclidean", "Linf": "chebyshev"}
_WRAP = 30  # characters of a line of a chart's hover text
_PASSING = {408, 429}  # statuses, beside 5xx, after which another attempt may succeed
_CONNECTION_ERRORS = {
    "APIConnectionError",
    "APITimeoutError",
    "Timeout",
}  # names in the clients, which need not be here

Vector = list[float]


def get_embedding(
    text: str, engine: str = "text-similarity-davinci-001", *, model: str | None = None, client: Any = None
) -> Vector:
    """The embedding of a text, its newlines replaced by spaces.

    Args:
        engine, model: the model's name, as either.
        client: see the module.

    Raises:
        The client's own error, after six attempts where it was one that passes.
    """
    return get_embeddings([text], engine, model=model, client=client)[0]


async def aget_embedding(
    text: str, engine: str = "text-similarity-davinci-001", *, model: str | None = None, client: Any = None
) -> Vector:
    """As `get_embedding`, without holding up the event loop."""
    return (await aget_embeddings([text], engine, model=model, client=client))[0]


def get_embeddings(
    list_of_text: Sequence[str],
    engine: str = "text-similarity-babbage-001",
    *,
    model: str | None = None,
    client: Any = None,
) -> list[Vector]:
    """The embeddings of texts, in their order, newlines replaced by spaces. Arguments as of `get_embedding`."""
    vectors = []
    for texts in _batches(list_of_text):
        vectors += _in_order(_patiently(_asker(client), texts, model or engine))
    return vectors


async def aget_embeddings(
    list_of_text: Sequence[str],
    engine: str = "text-similarity-babbage-001",
    *,
    model: str | None = None,
    client: Any = None,
) -> list[Vector]:
    """As `get_embeddings`, without holding up the event loop."""
    vectors = []
    for texts in _batches(list_of_text):
        vectors += _in_order(await _patiently_async(client, texts, model or engine))
    return vectors


def cosine_similarity(a: ArrayLike, b: ArrayLike) -> Any:
    """a·b / (|a|·|b|): 1 for vectors of one direction, 0 for perpendicular ones, -1 for opposite ones."""
    return np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


def distances_from_embeddings(
    query_embedding: ArrayLike, embeddings: ArrayLike, distance_metric: str = "cosine"
) -> list[float]:
    """The distance of each of several embeddings from one.

    Args:
        query_embedding: (D,).
        embeddings: (N, D).
        distance_metric: `cosine` (1 - cosine similarity), `L1`, `L2` or `Linf`.

    Raises:
        ValueError: there is no such metric.
    """
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    if distance_metric not in _METRICS:
        raise ValueError(f"'{distance_metric}' is no metric of distance. Take one of {', '.join(_METRICS)}.")
    rows = np.asarray(embeddings, dtype=np.float64)
    if not len(rows):
        return []
    query = np.asarray(query_embedding, dtype=np.float64)[None]
    return list(cdist(query, rows, _METRICS[distance_metric])[0])


def indices_of_nearest_neighbors_from_distances(distances: ArrayLike) -> NDArray[np.int64]:
    """The places of the distances, the smallest first."""
    return np.argsort(distances)


def pca_components_from_embeddings(embeddings: ArrayLike, n_components: int = 2) -> NDArray[Any]:
    """The embeddings along their directions of greatest variance, (N, n_components)."""
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]

    components: NDArray[Any] = PCA(n_components=n_components).fit_transform(np.asarray(embeddings))
    return components


def tsne_components_from_embeddings(embeddings: ArrayLike, n_components: int = 2, **kwargs: Any) -> NDArray[Any]:
    """A map by t-SNE that keeps neighbours together, (N, n_components).

    Args:
        kwargs: for scikit-learn's TSNE; `init` is "pca" and `learning_rate` "auto" unless given.
    """
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]

    options = {"init": "pca", "learning_rate": "auto", **kwargs}
    components: NDArray[Any] = TSNE(n_components=n_components, **options).fit_transform(np.asarray(embeddings))
    return components


def chart_from_components(
    components: NDArray[Any],
    labels: Sequence[str] | None = None,
    strings: Sequence[str] | None = None,
    x_title: str = "Component 0",
    y_title: str = "Component 1",
    mark_size: int = 5,
    **kwargs: Any,
) -> "Figure":
    """An interactive scatter chart of components, (N, 2).

    Args:
        labels: of the points; each has a colour and a symbol of its own.
        strings: texts that appear over a point.
        kwargs: for plotly.express.scatter.
    """
    import plotly.express as px  # type: ignore[import-untyped]

    data = _chart_data(components, labels, strings, (x_title, y_title))
    figure: Figure = px.scatter(data, x=x_title, y=y_title, **_marks(labels, strings), **kwargs)
    return figure.update_traces(marker={"size": mark_size})


def chart_from_components_3D(
    components: NDArray[Any],
    labels: Sequence[str] | None = None,
    strings: Sequence[str] | None = None,
    x_title: str = "Component 0",
    y_title: str = "Component 1",
    z_title: str = "Component 2",
    mark_size: int = 5,
    **kwargs: Any,
) -> "Figure":
    """An interactive chart of components in space, (N, 3). Arguments as of `chart_from_components`."""
    import plotly.express as px

    data = _chart_data(components, labels, strings, (x_title, y_title, z_title))
    figure: Figure = px.scatter_3d(data, x=x_title, y=y_title, z=z_title, **_marks(labels, strings), **kwargs)
    return figure.update_traces(marker={"size": mark_size})


def plot_multiclass_precision_recall(
    y_score: NDArray[Any], y_true_untransformed: ArrayLike, class_list: Sequence[Any], classifier_name: str
) -> None:
    """Draw precision against recall for each class and for all together, on a new figure of pyplot.

    Prints the average precision over all classes, each decision counted alike (micro-average).

    Args:
        y_score: (N, C), the score of each row for each class.
        y_true_untransformed: (N,), the class of each row.
        class_list: the C classes, in the order of the columns of `y_score`.
        classifier_name: for the title.
    """
    from matplotlib import pyplot as plt
    from sklearn.metrics import average_precision_score, precision_recall_curve  # type: ignore[import-untyped]

    scores = np.asarray(y_score)
    truth = np.asarray(y_true_untransformed)[:, None] == np.asarray(list(class_list))  # (N, C)
    average = average_precision_score(truth, scores, average="micro")
    print(f"{classifier_name} - Average precision score over all classes: {average:0.2f}")

    figure, axes = plt.subplots(figsize=(9, 10))
    lines = _draw_f1_levels(axes)
    precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
    (line,) = axes.plot(recall, precision, color="gold", lw=2)
    lines[f"average Precision-recall (auprc = {average:0.2f})"] = line
    for at, name in enumerate(class_list):
        precision, recall, _ = precision_recall_curve(truth[:, at], scores[:, at])
        area = average_precision_score(truth[:, at], scores[:, at])
        (line,) = axes.plot(recall, precision, lw=2)
        lines[f"Precision-recall for class `{name}` (auprc = {area:0.2f})"] = line

    figure.subplots_adjust(bottom=0.25)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.05), xlabel="Recall", ylabel="Precision")
    axes.set_title(f"{classifier_name}: Precision-Recall curve for each class")
    axes.legend(list(lines.values()), list(lines))


def _draw_f1_levels(axes: Any) -> dict[str, Any]:
    """Curves on which F1 = 2·P·R / (P + R) stays the same; gives one of them for the legend."""
    line = None
    for level in np.linspace(0.2, 0.8, num=4):
        recall = np.linspace(level / (2 - level), 1)  # precision is 1 at the start and falls
        precision = level * recall / (2 * recall - level)
        (line,) = axes.plot(recall, precision, color="gray", alpha=0.2)
        axes.annotate(f"f1={level:0.1f}", xy=(0.9, level * 0.9 / (1.8 - level) + 0.02))
    return {"iso-f1 curves": line}


def _chart_data(
    components: NDArray[Any], labels: Sequence[str] | None, strings: Sequence[str] | None, titles: tuple[str, ...]
) -> "pd.DataFrame":
    import pandas as pd

    columns: dict[str, Any] = {title: components[:, at] for at, title in enumerate(titles)}
    columns["label"] = "" if labels is None or not len(labels) else list(labels)
    wrapped = ("<br>".join(textwrap.wrap(text, width=_WRAP)) for text in strings) if strings is not None else ()
    columns["string"] = list(wrapped) or ""
    return pd.DataFrame(columns)


def _marks(labels: Sequence[str] | None, strings: Sequence[str] | None) -> dict[str, Any]:
    label = "label" if _given(labels) else None
    return {"color": label, "symbol": label, "hover_data": ["string"] if _given(strings) else None}


def _given(values: Sequence[str] | None) -> bool:
    """Whether there are any: asked by length, since arrays and series of pandas have no truth."""
    return values is not None and len(values) > 0


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    plain = [text.replace("\n", " ") for text in texts]
    return (plain[at : at + MAX_BATCH] for at in range(0, len(plain), MAX_BATCH))


def _asker(client: Any) -> Callable[[list[str], str], Any]:
    """How to ask a client for embeddings, given texts and model."""
    if client is None:
        try:
            import openai as client
        except ImportError:
            return _ask_server
    if hasattr(client, "embeddings"):  # today's; it also has `Embedding`, which only says that it has gone
        return lambda texts, model: client.embeddings.create(input=texts, model=model)
    return lambda texts, model: client.Embedding.create(input=texts, engine=model)


def _ask_server(texts: list[str], model: str) -> Any:
    from luthier.cli.client import Client, base_url

    with Client(base_url(), os.environ.get("OPENAI_API_KEY", "")) as server:
        return server.post("embeddings", body={"input": texts, "model": model})


def _in_order(answer: Any) -> list[Vector]:
    """The vectors of an answer, which is an object of either client or JSON."""
    items = answer["data"] if isinstance(answer, dict) else answer.data
    pairs = [
        (item["index"], item["embedding"]) if isinstance(item, dict) else (item.index, item.embedding) for item in items
    ]
    return [vector for _, vector in sorted(pairs, key=lambda pair: pair[0])]


def _patiently(ask: Callable[[list[str], str], Any], texts: list[str], model: str) -> Any:
    for attempt in range(1, _ATTEMPTS):
        try:
            return ask(texts, model)
        except Exception as error:  # clients have trees of their own; what does not pass goes on to the caller
            if not _passes(error):
                raise
        time.sleep(_wait(attempt))
    return ask(texts, model)


async def _patiently_async(client: Any, texts: list[str], model: str) -> Any:
    """As `_patiently`: a client for coroutines is awaited, any other has a thread."""
    create = getattr(getattr(client, "embeddings", None), "create", None)
    if not inspect.iscoroutinefunction(create):
        return await asyncio.to_thread(_patiently, _asker(client), texts, model)
    for attempt in range(1, _ATTEMPTS):
        try:
            return await create(input=texts, model=model)
        except Exception as error:  # as above
            if not _passes(error):
                raise
        await asyncio.sleep(_wait(attempt))
    return await create(input=texts, model=model)


def _passes(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    names = ("status_code", "http_status", "status")  # of today's client, the old one's, ours
    status = next((value for name in names if isinstance(value := getattr(error, name, None), int)), None)
    if status is not None:
        return status in _PASSING or status >= 500
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__name__ in _CONNECTION_ERRORS


def _wait(attempt: int) -> float:
    """Seconds before the next attempt: random, between bounds of which the upper doubles each time."""
    least, most = _WAITS
    return random.uniform(least, min(most, max(least, 2.0**attempt)))
