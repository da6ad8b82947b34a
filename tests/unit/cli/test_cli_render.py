"""Small things that are shown: durations, newest metrics, what the quickstart computes and prints."""

import math

import pytest

from luthier import __version__
from luthier.cli import quickstart, render


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (45.4, "45 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_words(seconds, text):
    assert render.duration(seconds) == text


def test_newest_metrics_skip_empty_cells():
    assert render.last_metrics("step,a,b\n1,0.5,2\n2,,3\n") == {"step": 2.0, "a": 0.5, "b": 3.0}


def test_a_label_is_scored_over_all_its_tokens():
    logprobs = {"text_offset": [0, 4, 7, 10], "token_logprobs": [None, -9.0, -0.5, -0.25]}
    assert quickstart._label_logprob(logprobs, 7) == pytest.approx(-0.75)
    assert math.exp(quickstart._label_logprob(logprobs, 10)) == pytest.approx(math.exp(-0.25))


def test_the_separator_is_what_all_prompts_end_with(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"prompt": "a plum ->", "completion": " b"}\n{"prompt": "bread ->", "completion": " c"}\n')
    assert quickstart._separator(file) == " ->"


def test_commands_can_be_pasted_into_a_shell():
    assert quickstart._shell(("luthier", "complete", "m", "it's\n\n###")) == "luthier complete m $'it\\'s\\n\\n###'"
    assert quickstart._shell(("luthier", "complete", "a plum ->")) == "luthier complete 'a plum ->'"


def test_version(luthier):
    assert luthier("--version").output == f"luthier {__version__}\n"


@pytest.mark.parametrize(("status", "words"), [("running", "is being cancelled"), ("cancelled", "is cancelled")])
def test_cancelling_says_whether_it_is_done(status, words, server, luthier):
    server.add_job(status)
    assert words in luthier("cancel", "ft-1").output
