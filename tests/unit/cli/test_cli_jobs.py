"""Jobs, files, models and results as the commands show them."""

import json
import re

import pytest

from luthier.errors import InvalidRequestError, LuthierError, NotFoundError

RESULTS = b"step,training_loss,classification/accuracy\n1,2.0,\n2,1.0,0.95\n"


@pytest.fixture
def finished(server):
    """A job with all its files."""
    train, valid = server.add_file("train.jsonl", b"{}"), server.add_file("valid.jsonl", b"{}")
    results = server.add_file("compiled_results.csv", RESULTS, "fine-tune-results")
    return server.add_job(training_files=[train], validation_files=[valid], result_files=[results])


@pytest.mark.usefixtures("finished")
def test_jobs_and_files_are_tables(luthier):
    assert "ft-1  succeeded  ada   ada:ft-personal-2023  train.jsonl" in luthier("jobs").output
    assert "compiled_results.csv" in luthier("files").output
    assert "n_epochs" in luthier("job", "ft-1").output


def test_empty_lists_say_what_to_do(luthier):
    assert "luthier tune FILE" in luthier("jobs").output
    assert "luthier tune FILE" in luthier("files").output


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("words", ["fine_tunes.results -i ft-1", "api fine_tunes.results -i ft-1", "results ft-1"])
def test_results_are_printed_byte_for_byte(words, luthier):
    assert luthier(*words.split()).stdout_bytes == RESULTS


@pytest.mark.usefixtures("finished")
def test_results_are_written_with_their_plots(luthier, tmp_path):
    output = luthier("results", "ft-1", "-o", str(tmp_path / "result.csv")).output
    assert (tmp_path / "result.csv").read_bytes() == RESULTS
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")
    assert "<html>" in (tmp_path / "result.html").read_text(encoding="utf-8")
    assert "classification/accuracy               0.95" in output


@pytest.mark.usefixtures("finished")
def test_plots_go_where_they_are_asked_for(luthier, tmp_path):
    luthier("results", "ft-1", "--plot", str(tmp_path / "v1.2"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1.2.html", "v1.2.png"]


def test_results_of_a_running_job_say_how_to_wait(server, luthier):
    server.add_job("running")
    result = luthier("results", "ft-1")
    assert isinstance(result.exception, LuthierError)
    assert "ft-1 has no results yet: it is running" in str(result.exception)
    assert "luthier follow ft-1" in str(result.exception)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("file-1", "file-1 is a file, not a fine-tune. It is the training file of ft-1; use ft-1."),
        ("file-2", "the validation file of ft-1"),
        ("file-3", "the results file of ft-1"),
        ("file-9", "file-9 is a file, not a fine-tune. `luthier jobs` lists"),
        ("ada:ft-personal-2023", "is a model, not a fine-tune. It is the model of ft-1"),
    ],
)
@pytest.mark.parametrize("command", [["follow"], ["results"], ["cancel"], ["fine_tunes.get", "-i"]])
def test_an_id_of_another_kind_is_explained(given, words, command, luthier):
    result = luthier(*command, given)
    assert isinstance(result.exception, InvalidRequestError)
    assert words in str(result.exception)


def test_pausing_and_resuming(server, luthier):
    server.add_job("running")
    assert luthier("pause", "ft-1").output == "ft-1 is being paused.\n"
    server.jobs[0]["status"] = "paused"
    assert luthier("pause", "ft-1").output == "ft-1 is paused.\n"
    assert luthier("resume", "ft-1").output.startswith("ft-1 goes on.")
    assert server.calls[-1] == "POST fine_tuning/jobs/ft-1/resume"


def test_an_unknown_job_names_the_command_that_lists_them(luthier):
    result = luthier("follow", "ft-9")
    assert isinstance(result.exception, NotFoundError)
    assert "luthier jobs" in str(result.exception)


@pytest.mark.usefixtures("finished")
def test_remove_knows_what_an_id_is(server, luthier):
    result = luthier("rm", "file-1", "ft-1", "ada:ft-personal-2023")
    assert result.exit_code == 0
    assert server.calls == ["DELETE files/file-1", "DELETE fine-tunes/ft-1", "DELETE models/ada%3Aft-personal-2023"]


def test_old_words_print_the_servers_json(luthier, finished, tmp_path):
    assert json.loads(luthier("fine_tunes.get", "-i", "ft-1").output) == finished
    assert json.loads(luthier("fine_tunes.list").output) == {"data": [finished]}
    assert json.loads(luthier("fine_tunes.events", "-i", "ft-1").output)["data"][0]["message"] == "Created"
    assert json.loads(luthier("fine_tunes.cancel", "-i", "ft-1").output)["id"] == "ft-1"
    assert json.loads(luthier("fine_tunes.delete", "-i", "ft-1").output)["deleted"] is True
    assert json.loads(luthier("models.list").output)["data"] == [{"id": "ada"}]
    assert json.loads(luthier("models.get", "-i", "ada").output) == {"id": "ada"}
    assert json.loads(luthier("models.delete", "-i", "m").output)["deleted"] is True
    (tmp_path / "x.jsonl").write_text("{}")
    created = json.loads(luthier("files.create", "-f", str(tmp_path / "x.jsonl"), "-p", "fine-tune").output)
    assert json.loads(luthier("files.get", "-i", created["id"]).output)["filename"] == "x.jsonl"
    assert json.loads(luthier("files.delete", "-i", created["id"]).output)["deleted"] is True
    assert len(json.loads(luthier("files.list").output)["data"]) == 4


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "."], r"\. is a folder"),
        (["-o", "result.html"], r"result\.html would be written twice.*Call the table result\.csv"),
        (["-o", "v1.png", "--plot", "v1"], r"v1\.png would be written twice"),
        (["-o", "no/where.csv"], "There is no folder no"),
        (["--plot", "."], r"\. is a folder"),
    ],
)
def test_results_that_have_no_place_are_refused_before_anything_is_written(
    words, message, luthier, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = luthier("results", "ft-1", *words)
    assert isinstance(result.exception, LuthierError)
    assert re.search(message, str(result.exception))
    assert list(tmp_path.iterdir()) == []
