"""The page of a report: whole, escaped, and without a call to the network."""

import json
import re
import shutil
import subprocess

import numpy as np
import plotly.graph_objects as go
import pytest

from luthier.reports.page import Page

NASTY = "</script><script>alert(1)</script> & <b>\u2028"


def figure_of(page, number=1):
    text = re.search(rf'<script type="application/json" id="figure-{number}">(.*?)</script>', page, re.DOTALL).group(1)
    return json.loads(text)


def test_text_of_users_is_escaped_everywhere(tmp_path):
    page = Page(NASTY)
    page.heading(NASTY)
    page.text(NASTY)
    page.table([NASTY], [[NASTY]])
    page.figure(go.Figure(go.Scatter(x=[1], y=[1], hovertext=[NASTY])), caption=NASTY)
    page.picture(b"\x89PNG", caption=NASTY)
    page.write(tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in html
    assert html.count("&lt;/script&gt;&lt;script&gt;alert(1)") == 9  # two titles, two captions, an alt, …
    assert figure_of(html)["data"][0]["hovertext"] == [NASTY]


def test_plotly_is_embedded_once_and_only_with_figures():
    page = Page("t")
    assert len(page.html()) < 10_000
    for _ in range(3):
        page.figure(go.Figure(go.Scatter(x=[1], y=[2])))
    html = page.html()
    assert html.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.https?:", html)
    assert "default-src 'none'" in html
    assert [figure_of(html, number)["data"][0]["y"] for number in (1, 2, 3)] == [[2]] * 3


def test_figures_take_the_pages_theme_and_keep_their_own_layout():
    page = Page("t")
    page.figure(go.Figure(go.Scatter(x=[1], y=[2]), layout={"height": 300, "template": "ggplot2", "title": "own"}))
    html = page.html()
    layout = figure_of(html)["layout"]
    assert "template" not in layout
    assert layout["height"] == 300
    assert layout["title"] == {"text": "own"}
    templates = json.loads(re.search(r'id="templates">(.*?)</script>', html, re.DOTALL).group(1))
    assert {name: made["layout"]["paper_bgcolor"] for name, made in templates.items()} == {
        "light": "rgba(0,0,0,0)",
        "dark": "rgba(0,0,0,0)",
    }


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
@pytest.mark.parametrize(("width", "beside"), [(600, False), (1200, True)])
def test_a_legend_stands_below_the_plot_where_there_is_no_room_beside_it(tmp_path, width, beside):
    page = Page("t")
    names = [f"{at}: a name of several words, as clusters have" for at in range(4)]
    page.figure(go.Figure([go.Scatter(x=[0, 1], y=[at, 1], name=name) for at, name in enumerate(names)]))
    page.write(tmp_path / "p.html")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    browser += [f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={width},900"]
    shown = subprocess.run(
        [*browser, (tmp_path / "p.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    left, top = map(float, re.search(r'<g class="legend"[^>]*translate\(([\d.]+), ?([\d.]+)\)', shown).groups())
    plot = re.search(r'<rect class="bg" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', shown)
    x, y, wide, high = map(float, plot.groups())
    assert (left >= x + wide, top >= y + high) == (beside, not beside)


def test_only_figures_that_ask_have_a_search_box():
    page = Page("t")
    page.figure(go.Figure(go.Scatter(x=[1], y=[2])))
    assert "<input" not in page.html()
    page.figure(go.Figure(go.Scatter(x=[1], y=[2], hovertext=["a"])), search=True)
    assert page.html().count("<input") == 1


def test_columns_of_numbers_stand_right():
    page = Page("t")
    page.table(["name", "count", "share", "mixed"], [["a", 12_345, np.float32(0.123456), 1.5], ["b", 2, np.nan, None]])
    html = page.html()
    assert '<th>name</th><th class="number">count</th><th class="number">share</th><th>mixed</th>' in html
    assert '<td class="number" data-value="12345.0">12,345</td>' in html
    assert ">0.1235</td>" in html
    assert '<td class="number" data-value="nan"></td><td></td>' in html


def test_numbers_of_a_column_have_the_same_decimals():
    page = Page("t")
    heads = ["accuracy", "stars", "price", "rate", "rank"]
    page.table(heads, [[0.8, 5.0, 12_345.6, 1e-4, 2**60 + 1], [0.75, 4, 2.5, 3e-5, np.inf], [np.nan, 3.0, 1, 0, 1]])
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page.html())
    assert cells[0::5] == ["0.80", "0.75", ""]
    assert cells[1::5] == ["5", "4", "3"]
    assert cells[2::5] == ["12,345.6", "2.5", "1.0"]
    assert cells[3::5] == ["0.00010", "0.00003", "0.00000"]
    assert cells[4::5] == ["1,152,921,504,606,846,977", "inf", "1"]


def test_a_table_without_rows_says_so():
    page = Page("t")
    page.table(["a"], [])
    assert "No rows." in page.html()


def test_rows_and_headings_must_agree():
    with pytest.raises(ValueError, match="not 2 cells"):
        Page("t").table(["a", "b"], [["x"]])
