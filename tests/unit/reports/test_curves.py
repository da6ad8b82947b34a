"""Pictures of a run: what is drawn, and that both files come out."""

import numpy as np
import pandas as pd
import pytest

from luthier.reports import curves


@pytest.fixture
def frame():
    """100 steps; measured on the validation set twice."""
    steps = np.arange(1, 101)
    table = pd.DataFrame({"step": steps, "elapsed_tokens": steps * 9, "training_loss": 1.0 / steps})
    table["training_token_accuracy"] = np.clip(steps / 50, 0, 1)
    for name, values in {"validation_loss": (0.4, 0.3), "classification/accuracy": (0.9, 0.95)}.items():
        table[name] = np.nan
        table.loc[[49, 99], name] = values
    return table


def test_panels_hold_what_was_measured(frame):
    loss, accuracy, classes = curves.panels(frame)
    assert [curve.label for curve in loss.curves] == ["training loss, mean of 5 steps", "validation loss"]
    assert list(loss.curves[1].raw.items()) == [(50, 0.4), (100, 0.3)]
    assert loss.curves[0].smooth is not None
    assert loss.curves[0].smooth.iloc[-1] == pytest.approx(frame["training_loss"].tail(5).mean())
    assert [curve.label for curve in accuracy.curves] == ["training token accuracy, mean of 5 steps"]
    assert [curve.label for curve in classes.curves] == ["accuracy"]
    assert accuracy.limits == (-0.02, 1.02)
    assert classes.limits == pytest.approx((0.85, 1.02))


def test_columns_that_are_missing_or_empty_have_no_panel(frame):
    bare = frame[["step", "training_loss", "validation_loss"]].assign(validation_loss=np.nan)
    assert [[curve.label for curve in panel.curves] for panel in curves.panels(bare)] == [
        ["training loss, mean of 5 steps"]
    ]


def test_both_pictures_are_written(frame, tmp_path):
    curves.write_png(frame, tmp_path / "a.png", "ft-1")
    curves.write_html(frame, tmp_path / "a.html", "ft-1")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "ft-1" in page
    assert "validation loss" in page
    assert "<script src=" not in page  # needs no network


def test_a_run_without_steps_still_makes_pictures(tmp_path):
    empty = pd.DataFrame({"step": pd.Series(dtype=int), "training_loss": pd.Series(dtype=float)})
    curves.write_png(empty, tmp_path / "a.png")
    curves.write_html(empty, tmp_path / "a.html")
    assert (tmp_path / "a.png").stat().st_size > 0
