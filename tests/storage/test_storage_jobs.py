"""Jobs: each transition with its events, the queue, and what two callers at once get."""

import threading

import pytest

from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Hyperparameters, Method, ResolvedHyperparameters
from luthier.domain.job import Dialect, Job, Status
from luthier.domain.model import TunedModel
from luthier.errors import ConflictError, InvalidRequestError, NotFoundError
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore, event
from luthier.storage.models import TunedModelStore


@pytest.fixture
def jobs(db):
    return JobStore(db)


def make_job(job_id, **fields):
    return Job(
        id=job_id,
        dialect=Dialect.LEGACY,
        status=Status.QUEUED,
        model="ada",
        hyperparameters=Hyperparameters(classification_betas=(0.5, 2.0), n_epochs=3),
        training_file="file-train",
        created_at=100,
        updated_at=100,
        **fields,
    )


def messages(jobs, job_id):
    return [one.message for one in jobs.events(job_id).items]


def test_a_job_comes_back_as_it_went_in(jobs):
    resolved = ResolvedHyperparameters(4, 1, 0.1, 0.01, Method.LORA, 16, 7, classification_betas=(1.0,))
    job = make_job("ft-1", resolved=resolved, metadata={"team": "a"}, suffix="x", validation_file="file-v")
    jobs.create(job)
    assert jobs.get("ft-1") == job


def test_an_unknown_job_is_not_found(jobs):
    for call in (jobs.get, jobs.events, jobs.request_cancel, jobs.delete):
        with pytest.raises(NotFoundError, match="ft-none"):
            call("ft-none")


def test_the_queue_number_counts_the_jobs_ahead(jobs):
    jobs.create(make_job("ft-1"), [event("Created fine-tune: ft-1")])
    jobs.claim_next()
    jobs.create(make_job("ft-2"))
    jobs.create(make_job("ft-3"))
    assert messages(jobs, "ft-1")[:2] == ["Created fine-tune: ft-1", "Fine-tune enqueued. Queue number: 0"]
    assert messages(jobs, "ft-3") == ["Fine-tune enqueued. Queue number: 2"]


def test_the_oldest_waiting_job_is_claimed_once(jobs):
    for name in ("ft-b", "ft-a"):
        jobs.create(make_job(name))
    assert [jobs.claim_next().id, jobs.claim_next().id, jobs.claim_next()] == ["ft-b", "ft-a", None]
    assert jobs.get("ft-b").started_at is not None
    assert messages(jobs, "ft-b")[-1] == "Fine-tune started"


def test_claiming_again_after_a_restart_does_not_start_twice(jobs):
    jobs.create(make_job("ft-1"))
    started = jobs.claim_next().started_at
    jobs.transition("ft-1", event("goes on"), status=Status.QUEUED)
    assert jobs.claim_next().started_at == started
    assert messages(jobs, "ft-1").count("Fine-tune started") == 1


def test_two_claimers_never_get_the_same_job(jobs):
    names = [f"ft-{n}" for n in range(8)]
    for name in names:
        jobs.create(make_job(name))
    got, threads = [], []
    for _ in range(2):
        threads.append(threading.Thread(target=lambda: got.extend(jobs.claim_next().id for _ in range(4))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sorted(got) == names


def test_a_forbidden_transition_changes_nothing(jobs):
    jobs.create(make_job("ft-1"))
    with pytest.raises(ConflictError, match="queued and cannot become succeeded"):
        jobs.transition("ft-1", event("Fine-tune succeeded"), status=Status.SUCCEEDED)
    assert jobs.get("ft-1").status is Status.QUEUED
    assert "Fine-tune succeeded" not in messages(jobs, "ft-1")


def test_a_final_state_gets_its_time(jobs):
    jobs.create(make_job("ft-1"))
    jobs.claim_next()
    assert jobs.transition("ft-1", status=Status.FAILED, error="no").finished_at is not None


def test_finishing_is_one_transaction(db, jobs):
    jobs.create(make_job("ft-1"))
    jobs.claim_next()
    model = TunedModel("ada:ft-x", "weights", "ada", Method.LORA, "ft-1", "ft-1", 5)
    TunedModelStore(db).add(TunedModel("other", "weights", "ada", Method.LORA, "ft-1", "ft-0", 5))
    result = File("file-r", "compiled_results.csv", Purpose.RESULTS, 3, 5, FileStatus.PROCESSED)
    with pytest.raises(ConflictError):  # the folder is taken
        jobs.finish("ft-1", [event("done")], files=[result], models=[model], status=Status.SUCCEEDED)
    assert jobs.get("ft-1").status is Status.RUNNING
    assert FileStore(db).list().items == ()
    assert "done" not in messages(jobs, "ft-1")
    TunedModelStore(db).delete("other")
    jobs.finish("ft-1", [event("done")], files=[result], models=[model], status=Status.SUCCEEDED)
    assert TunedModelStore(db).list(job_id="ft-1") == [model]
    assert FileStore(db).get("file-r") == result


def test_cancelling(jobs):
    jobs.create(make_job("ft-waits"))
    assert jobs.request_cancel("ft-waits").status is Status.CANCELLED
    assert messages(jobs, "ft-waits")[-1] == "Fine-tune cancelled"
    jobs.create(make_job("ft-runs"))
    jobs.claim_next()
    for _ in range(2):
        asked = jobs.request_cancel("ft-runs")
        assert (asked.status, asked.cancel_requested) == (Status.RUNNING, True)
    with pytest.raises(InvalidRequestError, match="already completed: ft-waits"):
        jobs.request_cancel("ft-waits")


def test_deleting_takes_the_events_along(jobs):
    jobs.create(make_job("ft-1"))
    with pytest.raises(InvalidRequestError, match="Cancel it first"):
        jobs.delete("ft-1")
    jobs.request_cancel("ft-1")
    jobs.delete("ft-1")
    with pytest.raises(NotFoundError):
        jobs.events("ft-1")


def test_an_event_with_a_key_is_told_once(jobs):
    jobs.create(make_job("ft-1"))
    jobs.create(make_job("ft-2"))
    assert jobs.add_event("ft-1", event("Completed epoch 1/4"), key="epoch-1") is True
    assert jobs.add_event("ft-1", event("Completed epoch 1/4"), key="epoch-1") is False
    assert jobs.add_event("ft-2", event("Completed epoch 1/4"), key="epoch-1") is True
    assert messages(jobs, "ft-1").count("Completed epoch 1/4") == 1
    assert jobs.add_event("ft-1", event("a"))
    assert jobs.add_event("ft-1", event("a"))


def test_events_page_by_their_ids(jobs):
    jobs.create(make_job("ft-1"))
    for n in range(5):
        jobs.add_event("ft-1", event(f"e{n}", data={"step": n}))
    first = jobs.events("ft-1", limit=2)
    rest = jobs.events("ft-1", after=first.items[-1].id)
    assert first.has_more
    assert not rest.has_more
    assert [one.message for one in rest.items] == ["e1", "e2", "e3", "e4"]
    assert rest.items[0].type == "metrics"
    assert rest.items[0].data == {"step": 1}
    newest = jobs.events("ft-1", limit=2, newest_first=True)
    assert [one.message for one in newest.items] == ["e4", "e3"]
    assert jobs.events("ft-1", after=newest.items[-1].id, limit=1, newest_first=True).items[0].message == "e2"
    assert all(one.id.startswith("ftevent-") for one in rest.items)
    with pytest.raises(InvalidRequestError, match="after"):
        jobs.events("ft-1", after="ftevent-none")


def test_jobs_list_in_order_and_by_metadata(jobs):
    for n in range(5):
        jobs.create(make_job(f"ft-{n}", metadata={"odd": str(n % 2), "n": str(n)}))
    assert [job.id for job in jobs.list(after="ft-1", limit=2).items] == ["ft-2", "ft-3"]
    odd = jobs.list(metadata={"odd": "1"}, limit=1)
    assert [job.id for job in odd.items] == ["ft-1"]
    assert odd.has_more
    assert [job.id for job in jobs.list(newest_first=True, limit=1).items] == ["ft-4"]
    assert jobs.list(dialect=Dialect.JOBS).items == ()


def test_what_a_waiting_job_needs_is_not_deleted(db, jobs):
    files, models = FileStore(db), TunedModelStore(db)
    files.create(File("file-valid", "valid.jsonl", Purpose.FINE_TUNE, 1, 0))
    models.add(TunedModel("ada", "weights", "weights", Method.LORA, "folder", "ft-0", 0))
    jobs.create(make_job("ft-1", validation_file="file-valid"))
    for delete, name in ((files.delete, "file-valid"), (models.delete, "ada")):
        with pytest.raises(InvalidRequestError, match=rf"{name} is in use by ft-1 \(queued\)"):
            delete(name)
    jobs.request_cancel("ft-1")
    files.delete("file-valid")
    models.delete("ada")
    with pytest.raises(InvalidRequestError, match="file-valid has been deleted"):
        jobs.create(make_job("ft-2", validation_file="file-valid"))


def test_a_deleted_job_still_says_where_the_next_page_begins(jobs):
    for n in range(4):
        jobs.create(make_job(f"ft-{n}"))
    jobs.request_cancel("ft-2")
    jobs.delete("ft-2")
    page = jobs.list(after="ft-2", limit=1, newest_first=True)
    assert [job.id for job in page.items] == ["ft-1"]
