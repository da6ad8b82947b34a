"""A run's progress as events."""

import pytest

from luthier.catalogue.pull import PullProgress, Stage
from luthier.domain.hyperparameters import Hyperparameters, Method, ResolvedHyperparameters
from luthier.domain.job import Dialect, Job, Status
from luthier.executors.story import Story, duration
from luthier.storage.db import Database
from luthier.storage.jobs import JobStore
from luthier.training.progress import CheckpointSaved, EpochDone, ResultRow, StartedAgain, StepDone


@pytest.fixture
def jobs(settings):
    store = JobStore(Database.open(settings))
    store.create(Job("ft-1", Dialect.LEGACY, Status.QUEUED, "ada", Hyperparameters(), "file-1", 0, 0))
    return store


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


def step(n, **fields):
    return StepDone(ResultRow(n, 100 * n, n, 0.43125, 1.0, 0.5, **fields), 1, 120, 200.4)


def told(jobs):
    return [event for event in jobs.events("ft-1").items if "enqueued" not in event.message]


def test_steps_are_told_every_few_seconds(jobs, clock):
    story = Story(jobs, "ft-1", 5.0, clock)
    for n in range(1, 13):
        story.tell(step(n))
        clock.now += 1
    first, *rest = told(jobs)
    assert first.message == "Step 1/120: loss 0.4313, 3 min 20 s left"
    assert first.type == "metrics"
    assert first.data == {
        "step": 1,
        "total_steps": 120,
        "epoch": 1,
        "train_loss": 0.43125,
        "train_mean_token_accuracy": 0.5,
        "seconds_left": 200.4,
    }
    assert [event.data["step"] for event in rest] == [6, 11]
    assert story.tokens_per_second() == pytest.approx(100.0)


def test_validation_stands_in_the_data(jobs, clock):
    Story(jobs, "ft-1", 5.0, clock).tell(step(1, validation_loss=0.5, validation_token_accuracy=0.75))
    assert told(jobs)[0].data["valid_loss"] == 0.5


def test_an_epoch_is_told_once_however_often_a_run_is_resumed(jobs):
    for _ in range(2):
        Story(jobs, "ft-1", 5.0).tell(EpochDone(1, 4))
    assert [event.message for event in told(jobs)] == ["Completed epoch 1/4"]


def test_a_checkpoint_is_noted_in_the_job(jobs, tmp_path):
    Story(jobs, "ft-1", 5.0).tell(CheckpointSaved(24, tmp_path))
    assert jobs.get("ft-1").checkpoint_step == 24
    assert told(jobs) == []


def test_choices_name_what_was_left_open(jobs):
    used = ResolvedHyperparameters(4, 8, 0.1, 0.01, Method.LORA, 16, 0)
    for _ in range(2):
        Story(jobs, "ft-1", 5.0).choices(Hyperparameters(n_epochs=4, lora_rank=16), used)
    assert [event.message for event in told(jobs)] == [
        "Chosen automatically: batch_size 8, learning_rate_multiplier 0.1, prompt_loss_weight 0.01, seed 0"
    ]


def test_pulls_are_told(jobs, clock):
    story = Story(jobs, "ft-1", 5.0, clock)
    for _ in range(3):
        story.pull(PullProgress(Stage.DOWNLOAD, "weights.gguf", 45_000_000, 92_000_000))
    assert [event.message for event in told(jobs)] == [
        "Pulling the base's weights, weights.gguf: downloading, 45 of 92 MB"
    ]


def test_speed_needs_two_steps(jobs, clock):
    story = Story(jobs, "ft-1", 5.0, clock)
    assert story.tokens_per_second() is None
    story.tell(step(1))
    assert story.tokens_per_second() is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_a_run_that_starts_again_says_why_and_has_no_checkpoint(jobs, tmp_path):
    story = Story(jobs, "ft-1", 5.0)
    story.tell(CheckpointSaved(24, tmp_path))
    story.tell(StartedAgain(24))
    told = jobs.events("ft-1").items[-1]
    assert (told.level, jobs.get("ft-1").checkpoint_step) == ("warn", None)
    assert told.message.startswith("The checkpoint after step 24 was made with another version")
