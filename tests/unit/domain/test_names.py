"""Ids and names of models."""

import pytest

from luthier.domain.hyperparameters import Hyperparameters
from luthier.domain.job import Dialect, Job, Status
from luthier.domain.names import checkpoint_name, model_name, new_id, result_file_id, root_of, slug

MARCH_14 = 1678818970  # 2023-03-14 18:36:10 UTC


def make_job(dialect, suffix=None):
    return Job(
        "ftjob-abcdefghijklmnopqrst1234", dialect, Status.RUNNING, "ada", Hyperparameters(), "f", 0, 0, suffix=suffix
    )


def test_ids_are_24_letters_or_digits_and_differ():
    ids = {new_id("ft-") for _ in range(100)}
    assert len(ids) == 100
    assert all(one.startswith("ft-") and len(one) == 27 and one[3:].isalnum() for one in ids)


@pytest.mark.parametrize(
    ("dialect", "suffix", "name"),
    [
        (Dialect.LEGACY, None, "ada:ft-personal-2023-03-14-18-36-10"),
        (Dialect.LEGACY, "My suffix", "ada:ft-personal:my-suffix-2023-03-14-18-36-10"),
        (Dialect.JOBS, None, "ft:ada:personal::qrst1234"),
        (Dialect.JOBS, "My suffix", "ft:ada:personal:my-suffix:qrst1234"),
    ],
)
def test_names_of_tuned_models(dialect, suffix, name):
    assert model_name(make_job(dialect, suffix), "ada", MARCH_14) == name
    assert root_of(name) == "ada"
    assert root_of(checkpoint_name(name, 12)) == "ada"


@pytest.mark.parametrize(
    ("model", "root"),
    [
        ("ada", "ada"),
        ("text-davinci-003", "text-davinci-003"),
        ("hf:owner/name", "hf:owner/name"),
        ("hf:owner/name:ft-personal-2023-03-14-18-36-10", "hf:owner/name"),
        ("ft:hf:owner/name:personal::qrst1234:ckpt-step-3", "hf:owner/name"),
        ("/home/me/bases/tiny/", "tiny"),
        ("C:\\bases\\tiny", "tiny"),
    ],
)
def test_the_base_within_a_name(model, root):
    assert root_of(model) == root


@pytest.mark.parametrize(
    ("suffix", "plain"), [("a_b  C!", "a-b-c"), ("Übung №1", "ubung-no1"), ("!!", ""), ("-x-", "x")]
)
def test_suffixes_become_slugs(suffix, plain):
    assert slug(suffix) == plain


def test_the_result_file_follows_from_the_job():
    assert result_file_id("ftjob-abc") == result_file_id("ft-abc") == "file-abc"
