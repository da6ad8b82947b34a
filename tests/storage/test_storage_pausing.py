"""Pausing and resuming, as the store sees them: every moment at which the owner can want it."""

import pytest

from luthier.domain.hyperparameters import Hyperparameters
from luthier.domain.job import Dialect, Job, Status, WandbRun
from luthier.errors import ConflictError, InvalidRequestError
from luthier.storage.jobs import JobStore


@pytest.fixture
def jobs(db):
    return JobStore(db)


@pytest.fixture
def add(jobs):
    def add(job_id="ft-1", **fields):
        return jobs.create(Job(job_id, Dialect.JOBS, Status.QUEUED, "ada", Hyperparameters(), "file-1", 0, 0, **fields))

    return add


def messages(jobs, job_id="ft-1"):
    return [one.message for one in jobs.events(job_id).items]


def test_owner_and_integration_come_back_as_they_went_in(jobs, add):
    job = add(organization="org-a", project="proj_b", wandb=WandbRun("p", tags=("a", "b")))
    assert jobs.get("ft-1") == job


def test_a_waiting_job_is_paused_at_once_and_not_claimed(jobs, add):
    add()
    assert jobs.request_pause("ft-1").status is Status.PAUSED
    assert jobs.claim_next() is None
    with pytest.raises(InvalidRequestError, match="already paused"):
        jobs.request_pause("ft-1")
    add("ft-2")
    assert jobs.claim_next().id == "ft-2"
    assert jobs.resume("ft-1").status is Status.QUEUED
    assert messages(jobs)[-3:] == [
        "Fine-tune paused",
        "Fine-tune resumed; it goes on from its beginning",
        "Fine-tune enqueued. Queue number: 1",
    ]
    assert jobs.claim_next().id == "ft-1"


def test_a_running_job_is_asked_and_settles(jobs, add):
    add()
    jobs.claim_next()
    assert jobs.request_pause("ft-1").status is Status.RUNNING
    assert jobs.request_pause("ft-1").pause_requested
    jobs.transition("ft-1", checkpoint_step=12)
    settled = jobs.settle("ft-1")
    assert (settled.status, settled.pause_requested) == (Status.PAUSED, False)
    assert messages(jobs)[-1] == "Fine-tune paused after step 12"
    with pytest.raises(ConflictError, match="paused: it does not run"):
        jobs.settle("ft-1")
    jobs.resume("ft-1")
    assert "Fine-tune resumed; it goes on after step 12" in messages(jobs)


def test_a_pause_can_be_taken_back_before_it_happens(jobs, add):
    add()
    jobs.claim_next()
    jobs.request_pause("ft-1")
    assert jobs.resume("ft-1").status is Status.RUNNING
    assert jobs.settle("ft-1").status is Status.QUEUED  # its trainer had already seen the wish
    with pytest.raises(InvalidRequestError, match="not paused"):
        jobs.resume("ft-1")


def test_cancelling_goes_before_pausing(jobs, add):
    add()
    jobs.claim_next()
    jobs.request_pause("ft-1")
    jobs.request_cancel("ft-1")
    with pytest.raises(InvalidRequestError, match="being cancelled"):
        jobs.request_pause("ft-1")
    assert jobs.settle("ft-1").status is Status.CANCELLED
    for call in (jobs.request_pause, jobs.resume):
        with pytest.raises(InvalidRequestError, match="already completed"):
            call("ft-1")


def test_a_paused_job_is_cancelled_at_once(jobs, add):
    add()
    jobs.request_pause("ft-1")
    with pytest.raises(InvalidRequestError, match="Cancel it first"):
        jobs.delete("ft-1")
    assert jobs.request_cancel("ft-1").status is Status.CANCELLED
    jobs.delete("ft-1")
