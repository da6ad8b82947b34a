"""Watching a job: events once each, through breaks, and what is said at the end."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from luthier.cli import follow as follow_module
from luthier.cli import render
from luthier.cli.client import Client, ConnectionBrokenError
from luthier.errors import LuthierError, UnavailableError


def streams(*answers, statuses=("succeeded",)):
    """A client whose streams are these lists of events; an exception in one is raised there."""
    left, states = list(answers), list(statuses)

    def stream(*_, **__):
        for item in left.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item

    return SimpleNamespace(stream=stream, get=lambda *_: {"status": states.pop(0)})


def event(number):
    return {"id": f"e{number}", "created_at": number, "message": f"m{number}"}


BROKEN = ConnectionBrokenError("The connection broke. Oh")


def watch(client, clock=lambda: 0.0):
    told = []
    seen = follow_module.events(client, "ft-1", told.append, sleep=lambda _: None, clock=clock)
    return [item["message"] for item in seen], told


def test_a_stream_that_breaks_goes_on_without_repeats():
    client = streams([event(1), event(2), BROKEN], [BROKEN], [event(1), event(2), event(3)])
    assert watch(client) == (["m1", "m2", "m3"], ["The connection broke. Trying again for 5 min 00 s…"])


def test_a_stream_that_ends_before_its_job_is_asked_for_again():
    client = streams([event(1)], [event(1), event(2)], statuses=["running", "succeeded"])
    assert watch(client)[0] == ["m1", "m2"]


def test_the_first_connection_is_not_tried_again():
    with pytest.raises(UnavailableError):
        watch(streams([BROKEN]))


def test_patience_ends():
    moments = iter([0.0, 200.0, 301.0])
    with pytest.raises(UnavailableError):
        watch(streams([event(1), BROKEN], [BROKEN], [BROKEN]), clock=moments.__next__)


def test_follow_prints_events_and_what_to_do_next(server, luthier):
    results = server.add_file("r.csv", b"step,training_loss,validation_loss\n1,2.0,\n2,1.0,0.5\n", "fine-tune-results")
    server.add_job("running", result_files=[results])
    created = server.event("Created", 1)
    server.streams = [server.sse(created), server.sse(created, server.event("Done", 2))]
    output = luthier("follow", "ft-1").output
    assert [line[22:] for line in output.splitlines() if line.startswith("[")] == ["Created", "Done"]
    assert "Status: succeeded" in output
    assert "validation_loss                     0.5000" in output
    assert "luthier complete ada:ft-personal-2023" in output
    assert "luthier results ft-1 -o" in output


@pytest.mark.parametrize(
    ("status", "events", "words"),
    [
        ("failed", [{"level": "error", "message": "line 3 is too long"}], "ft-1 failed: line 3 is too long"),
        ("cancelled", [], "ft-1 was cancelled"),
    ],
)
def test_follow_of_a_job_that_came_to_nothing_fails(status, events, words, server, luthier):
    server.add_job(status, events=events)
    server.streams = [server.sse()]
    result = luthier("fine_tunes.follow", "-i", "ft-1")
    assert isinstance(result.exception, LuthierError)
    assert words in str(result.exception)


@pytest.mark.parametrize(("url", "again"), [(None, "ft-1"), ("http://other:1/v1", "ft-1 --url http://other:1/v1")])
def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(url, again, server, luthier, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    server.add_job("running")
    monkeypatch.setattr(Client, "stream", interrupt)
    result = luthier("follow", "ft-1", *(["--url", url] if url else []))
    assert result.exit_code == 0
    assert f"luthier follow {again} " in result.output
    assert f"luthier cancel {again} " in result.output
    assert not any("cancel" in call for call in server.calls)


def test_on_a_terminal_metrics_move_a_bar_and_messages_stay(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    numbers = {"step": 5, "total_steps": 10, "epoch": 2, "train_loss": 0.25, "seconds_left": 80}
    job = {"id": "ft-1", "status": "succeeded", "fine_tuned_model": "m"}
    events = [event(1), event(2) | {"type": "metrics", "data": numbers}, event(3)]
    client = SimpleNamespace(stream=lambda *_, **__: iter(events), get=lambda *_: job, url="http://127.0.0.1:8080/v1")
    monkeypatch.setattr(render, "console", lambda *_, **__: console)
    follow_module.follow(client, "ft-1")
    shown = out.getvalue()
    assert "m1" in shown
    assert "m3" in shown
    assert "m2" not in shown
    for text in ("epoch 2", "5/10", "loss 0.2500", "1 min 20 s left"):
        assert text in shown
