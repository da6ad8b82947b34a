"""How points are coloured, and that both pictures of a map come out."""

import numpy as np
import pandas as pd
import pytest

from luthier.reports.scatter import Group, Mark, Scatter, coloured, hover_text


def test_stars_have_the_guides_colours():
    groups, shades = coloured(pd.Series([5, 1, 4, 5, 2, 3], name="Score"))
    assert shades is None
    assert [(group.name, group.colour) for group in groups] == [
        ("1", "red"),
        ("2", "darkorange"),
        ("3", "gold"),
        ("4", "turquoise"),
        ("5", "darkgreen"),
    ]
    assert groups[4].rows.tolist() == [0, 3]


def test_many_numbers_are_a_scale_and_many_words_have_the_most_frequent_named():
    groups, shades = coloured(pd.Series(np.arange(100) / 7, name="price"))
    assert len(groups) == 1
    assert shades.tolist() == (np.arange(100) / 7).tolist()
    words = pd.Series([f"w{at % 40}" for at in range(400)] + ["often"] * 9)
    groups, shades = coloured(words)
    assert shades is None
    assert groups[0].name == "(other)"
    assert len(groups) == 17
    assert sum(len(group.rows) for group in groups) == 409


def test_empty_cells_are_grey():
    groups, _ = coloured(pd.Series(["a", None, "b"]))
    assert [(group.name, group.rows.tolist()) for group in groups] == [("(empty)", [1]), ("a", [0]), ("b", [2])]


def test_texts_are_no_numbers_and_other_is_a_name_like_any():
    groups, shades = coloured(pd.Series([f"{at:03}" for at in range(40)], name="code"))
    assert shades is None
    assert groups[1].name == "000"
    named = coloured(pd.Series(["other", None, *(f"w{at}" for at in range(20)), "other"]))[0]
    assert [(group.name, len(group.rows)) for group in named[:2]] == [("(other)", 5), ("(empty)", 1)]
    assert [group.rows.tolist() for group in named if group.name == "other"] == [[0, 22]]


def test_hover_texts_are_wrapped_cut_and_escaped():
    text = hover_text("<b>&" + " word" * 100)
    assert text.startswith("&lt;b&gt;&amp; word")
    assert "<br>" in text
    assert text.endswith("…")


@pytest.mark.parametrize("dims", [2, 3])
def test_both_pictures_come_out(dims):
    places = np.random.default_rng(0).normal(size=(6, dims)).astype(np.float32)
    groups = (Group("a", np.array([0, 1, 2]), "red"), Group("<b>", np.array([3, 4, 5]), "blue", "diamond", large=True))
    mark = Mark("0", tuple(float(value) for value in places[0]), "red")
    scatter = Scatter("t", places, tuple("xyz"[:dims]), groups, [f"text {at}" for at in range(6)], (mark,))
    assert scatter.png().startswith(b"\x89PNG")
    figure = scatter.figure()
    assert [trace.name for trace in figure.data] == ["a", "&lt;b&gt;", "0"]
    assert list(figure.data[1].hovertext) == ["text 3", "text 4", "text 5"]
    assert figure.data[0].type == ("scatter" if dims == 2 else "scatter3d")


def test_shades_come_with_a_scale():
    places = np.zeros((3, 2), np.float32)
    scatter = Scatter(
        "t", places, ("x", "y"), (Group("p", np.arange(3), "grey"),), list("abc"), shades=np.arange(3.0), shade="price"
    )
    assert scatter.figure().data[0].marker.colorbar.title.text == "price"
    assert scatter.png().startswith(b"\x89PNG")


def test_an_empty_cell_changes_nothing_for_the_others():
    groups, shades = coloured(pd.Series([None, 5, 1, 5], name="Score"))
    assert shades is None
    assert [(group.name, group.colour) for group in groups][1:] == [("1", "red"), ("5", "darkgreen")]
    groups, shades = coloured(pd.Series([np.nan, *(np.arange(99) / 7)], name="price"))
    assert [(group.name, len(group.rows)) for group in groups] == [("(empty)", 1), ("price", 99)]
    scatter = Scatter("t", np.zeros((100, 2), np.float32), ("x", "y"), groups, ["a"] * 100, shades=shades)
    grey, scaled = scatter.figure().data
    assert grey.marker.color == "#9aa3a8"
    assert scaled.marker.color.tolist() == (np.arange(99) / 7).tolist()
    assert scatter.png().startswith(b"\x89PNG")


def test_moments_are_a_scale_of_years_and_truth_is_no_star():
    groups, shades = coloured(pd.Series(pd.date_range("2012-01-01", periods=100, freq="30D"), name="Time"))
    assert [group.name for group in groups] == ["Time"]
    assert shades[0] == 2012
    assert shades[-1] == pytest.approx(2020.13, abs=0.02)
    hours = pd.Series([pd.NaT, *pd.date_range("2012-01-01", periods=48, freq="h", tz="UTC")], name="Time")
    groups, shades = coloured(hours)
    assert [(group.name, len(group.rows)) for group in groups] == [("(empty)", 1), ("Time", 48)]
    assert shades[-1] == pytest.approx(2012 + 47 / 24 / 366)
    assert [group.name for group in coloured(pd.Series([True] * 4))[0]] == ["True"]
    assert [group.name for group in coloured(pd.Series([True, None], dtype=object))[0]] == ["(empty)", "True"]


def test_dollars_are_no_formula():
    places = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    groups = (Group("$x_$ to $\\frac$", np.array([0, 1]), "red"), Group("b", np.array([2, 3]), "blue"))
    mark = Mark("$^$", (0.0, 0.0), "red")
    scatter = Scatter("$_$.csv", places, ("$_$", "$_$"), groups, ["t"] * 4, (mark,), legend="$_$")
    assert scatter.png().startswith(b"\x89PNG")
