"""What is shown of a row where a person is to recognise it."""

from typing import Any

import pandas as pd

from luthier.errors import DataError
from luthier.toolkit.frame import Frame, texts_of


def shown_texts(frame: Frame, template: str | None = None) -> list[str]:
    """A text for each row: by a template, else what was embedded, else the column with the longest texts.

    Args:
        template: as of `texts_of`.

    Raises:
        DataError: the template asks for a column that is not there.
    """
    if template is not None:
        return texts_of(frame.rows, template)
    if frame.text is not None:
        try:
            return texts_of(frame.rows, frame.text)
        except DataError:  # the columns that were embedded have been left out since
            pass
    lengths = {name: _mean_length(frame.rows[name]) for name in frame.rows.columns}
    longest = max(lengths, key=lambda name: lengths[name], default=None)
    if longest is None or not lengths[longest]:
        return [f"Row {row + 1}" for row in range(len(frame))]
    return ["" if pd.isna(cell) else str(cell) for cell in frame.rows[longest]]


def _mean_length(column: "pd.Series[Any]") -> float:
    """Of its texts, in characters; 0 where it holds none."""
    lengths = [len(cell) for cell in column if isinstance(cell, str)]
    return sum(lengths) / len(column) if lengths else 0.0
