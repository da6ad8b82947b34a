"""The page of user and product profiles."""

from html import escape

import numpy as np
from plotly.graph_objects import Box, Figure  # type: ignore[import-untyped]

from luthier.reports.page import COLOURS, Page
from luthier.toolkit.profiles import Profiles

_STARS = ("red", "darkorange", "gold", "turquoise", "darkgreen")  # of 1 to 5 stars, the guide's


def profiles_page(made: Profiles) -> Page:
    """How alike user and product are, by the stars that came of it."""
    page = Page(f"Users and products: does similarity foretell {made.target}?")
    users, items = made.users, made.items
    page.text(
        f"{len(users.names):,} of {users.column} and {len(items.names):,} of {items.column} are the means of their "
        f"embeddings over {made.train_rows:,} rows. Of {made.test_rows:,} rows held out, {len(made.rows):,} have a "
        "known user and a known product; for these the two means' similarity is ranked, 1 the most alike."
    )
    if made.correlation is None:
        page.text("That is too few rows, or all are alike: there is no correlation to speak of.")
        return page
    page.text(f"Correlation of percentile similarity with {made.target}: {made.correlation:.2%}.")
    columns = (made.target, "rows", "lower quartile", "median", "upper quartile")
    page.table(
        columns,
        [
            (f"{one['value']:.15g}", one["rows"], round(one["q1"], 2), round(one["median"], 2), round(one["q3"], 2))
            for one in made.by_target()
        ],
    )
    page.figure(box_figure(made))
    return page


def box_figure(made: Profiles) -> Figure:
    """Percentile similarity of user and product, a box for each value of the target."""
    figure = Figure()
    for value in np.unique(made.actual):
        chosen = made.percentile[made.actual == value]
        figure.add_trace(
            Box(
                y=chosen,
                name=f"{value:.15g}",
                marker_color=_colour(float(value)),
                boxpoints="all",
                pointpos=0,
                jitter=0.4,
            )
        )
    figure.update_layout(title="Percentile similarity of user and product", height=480, showlegend=False)
    figure.update_xaxes(title=escape(made.target), type="category")
    figure.update_yaxes(title="percentile of the cosine similarity", range=[0, 1.03])
    return figure


def _colour(value: float) -> str:
    return _STARS[int(value) - 1] if value in (1, 2, 3, 4, 5) else COLOURS[0]
