"""Uploading and creating, by the old words and today's."""

import pytest

from luthier.cli.fine_tunes import spread_betas
from luthier.errors import DataError, NotFoundError


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": " b"}\n')
    return path


@pytest.fixture
def valid(tmp_path):
    path = tmp_path / "valid.jsonl"
    path.write_bytes(b'{"prompt": "c", "completion": " d"}\n')
    return path


@pytest.mark.parametrize("prefix", [[], ["api"]])
def test_every_flag_of_the_old_create_reaches_the_server(prefix, server, luthier, train, valid):
    words = (
        f"fine_tunes.create -t {train} -v {valid} --no_check_if_files_exist -m ada --suffix mine --no_follow "
        "--n_epochs 3 --batch_size 8 --learning_rate_multiplier 0.2 --prompt_loss_weight 0.5 "
        "--compute_classification_metrics --classification_n_classes 2 --classification_betas 0.5 2"
    )
    result = luthier(*prefix, *words.split(), "--classification_positive_class", " baseball")
    assert result.exit_code == 0, result.output
    assert server.bodies[-1] == {
        "training_file": "file-1",
        "validation_file": "file-2",
        "model": "ada",
        "suffix": "mine",
        "n_epochs": 3,
        "batch_size": 8,
        "learning_rate_multiplier": 0.2,
        "prompt_loss_weight": 0.5,
        "compute_classification_metrics": True,
        "classification_n_classes": 2,
        "classification_betas": [0.5, 2.0],
        "classification_positive_class": " baseball",
    }
    assert server.files["file-1"] == train.read_bytes()
    assert [row["filename"] for row in server.file_rows] == ["train.jsonl", "valid.jsonl"]


def test_what_is_not_said_is_left_to_the_server(server, luthier, train):
    assert luthier("fine_tunes.create", "-t", str(train), "--no_follow").exit_code == 0
    assert server.bodies[-1] == {"training_file": "file-1"}


@pytest.mark.parametrize("words", [["--dpo", "--beta", "0.3"], ["--beta", "0.3"]])
def test_preferences_go_through_todays_api(server, luthier, train, words):
    result = luthier("tune", str(train), "--no-follow", "--seed", "1", "--lora-rank", "4", *words)
    assert result.output.endswith("\nft-1\n")
    assert server.calls[-1] == "POST fine_tuning/jobs"
    assert server.bodies[-1] == {
        "training_file": "file-1",
        "model": "ada",
        "seed": 1,
        "method": {"type": "dpo", "dpo": {"hyperparameters": {"lora_rank": 4, "beta": 0.3}}},
    }


def test_tune_takes_ada_and_measures_a_classification(server, luthier, train):
    words = ["tune", str(train), "--no-follow", "--classification-positive-class", " b", "--method", "full"]
    result = luthier(*words, "--lora-rank", "4", "--seed", "1")
    assert server.bodies[-1] == {
        "training_file": "file-1",
        "model": "ada",
        "classification_positive_class": " b",
        "compute_classification_metrics": True,
        "method": "full",
        "lora_rank": 4,
        "seed": 1,
    }
    assert result.output.splitlines()[-1] == "ft-1"


def test_the_same_content_is_not_uploaded_twice(server, luthier, train):
    server.add_file("train.jsonl", b"x" * train.stat().st_size)  # same name and size, other content
    server.add_file("train.jsonl", train.read_bytes())
    assert "on the server already: file-2" in luthier("tune", str(train), "--no-follow").output
    assert server.bodies[-1]["training_file"] == "file-2"
    luthier("tune", str(train), "--no-follow", "--always-upload")
    assert server.bodies[-1]["training_file"] == "file-3"


def test_other_content_of_the_same_name_is_uploaded(server, luthier, train):
    server.add_file("train.jsonl", b"x" * train.stat().st_size)
    luthier("tune", str(train), "--no-follow")
    assert server.bodies[-1]["training_file"] == "file-2"


def test_the_id_of_an_uploaded_file_is_taken_as_it_is(server, luthier):
    server.add_file("train.jsonl", b"{}")
    luthier("tune", "file-1", "--no-follow")
    assert server.bodies[-1]["training_file"] == "file-1"


def test_a_file_that_the_server_finds_unfit_is_not_trained_on(server, luthier, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("broken")
    result = luthier("tune", str(bad))
    assert isinstance(result.exception, DataError)
    assert "bad.jsonl cannot be trained on: line 1: no JSON" in str(result.exception)
    assert "POST fine-tunes" not in server.calls


def test_a_name_that_is_nothing_says_so(luthier):
    result = luthier("tune", "nowhere.jsonl")
    assert isinstance(result.exception, NotFoundError)
    assert "neither a file here" in str(result.exception)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--classification_betas 0.5 2 -m ada", "--classification_betas 0.5 --classification_betas 2 -m ada"),
        ("-n 1 --classification-betas 1 -n 2", "-n 1 --classification-betas 1 -n 2"),
        ("--classification_betas=1", "--classification_betas=1"),
        ("--classification_betas", "--classification_betas"),
    ],
)
def test_betas_are_spread(given, expected):
    assert spread_betas(given.split()) == expected.split()


def test_old_options_before_the_command_name_the_server(server, luthier):
    assert luthier("-b", "http://elsewhere:1/v1", "-k", "sk-1", "api", "files.list").exit_code == 0
    assert server.calls == ["GET files"]
