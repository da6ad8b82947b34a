"""Today's client, and both dialects' views of one job."""

import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from contract_helpers import Server, jsonl, rows, same_job


@pytest.fixture(scope="module")
def job(client: openai.OpenAI, wait: Callable[[str], Any]) -> Any:
    """A finished job of two epochs."""
    train = client.files.create(file=("train.jsonl", jsonl(rows(8))), purpose="fine-tune")
    made = client.fine_tuning.jobs.create(
        training_file=train.id, model="ada", hyperparameters={"n_epochs": 2, "batch_size": "auto"}
    )
    assert made.id.startswith("ftjob-")
    assert made.object == "fine_tuning.job"
    assert made.status in ("queued", "running")
    return wait(made.id)


@pytest.mark.contract("GET /v1/files", ("purpose", "after", "limit", "order"), "honoured")
def test_files_and_pages_of_them(client: openai.OpenAI) -> None:
    made = [client.files.create(file=(f"{i}.jsonl", jsonl(rows(1))), purpose="fine-tune") for i in range(3)]
    ids = [file.id for file in made]
    listed = [file.id for file in client.files.list(purpose="fine-tune")]
    assert listed[-3:] == ids
    assert [file.id for file in client.files.list(limit=1, order="desc", after=ids[2])][:2] == [ids[1], ids[0]]
    assert client.files.retrieve(ids[0]) == made[0]
    assert client.files.content(ids[0]).content == jsonl(rows(1))
    assert client.files.wait_for_processing(ids[0]).status == "processed"
    for file_id in ids:
        assert client.files.delete(file_id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.content(ids[0])


@pytest.mark.contract("POST /v1/fine_tuning/jobs", ("", "training_file", "model"), "honoured")
@pytest.mark.contract("GET /v1/fine_tuning/jobs/{job_id}", "", "honoured")
def test_job_from_beginning_to_end(client: openai.OpenAI, job: Any) -> None:
    assert job.status == "succeeded"
    assert job.error is None
    assert job.finished_at >= job.created_at
    assert job.fine_tuned_model.startswith("ft:ada:personal:")
    assert client.completions.create(model=job.fine_tuned_model, prompt="a", max_tokens=1).model == job.fine_tuned_model
    card = client.models.retrieve(job.fine_tuned_model)
    assert (card.owned_by, card.model_extra and card.model_extra["parent"]) == ("personal", "ada")
    assert job.fine_tuned_model in [model.id for model in client.models.list()]


def test_a_running_job_says_when_it_will_be_over(client: openai.OpenAI, job: Any, wait: Callable[[str], Any]) -> None:
    assert job.estimated_finish is None
    train = client.files.create(file=("train.jsonl", jsonl(rows(80))), purpose="fine-tune")
    long = client.fine_tuning.jobs.create(
        training_file=train.id, model="ada", hyperparameters={"n_epochs": 50, "batch_size": 1}
    )
    assert long.estimated_finish is None
    deadline = time.monotonic() + 200
    while (now := client.fine_tuning.jobs.retrieve(long.id)).estimated_finish is None:
        assert now.status in ("queued", "running")
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert now.status == "running"
    assert now.estimated_finish >= time.time() - 2
    client.fine_tuning.jobs.cancel(long.id)
    assert wait(long.id).estimated_finish is None


@pytest.mark.contract("GET /v1/fine_tuning/jobs/{job_id}/events", ("", "after", "limit"), "honoured")
def test_events_by_pages_newest_first(client: openai.OpenAI, job: Any) -> None:
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert len({event.id for event in events}) == len(events) > 4
    messages = [event.message for event in events]
    assert messages[0] == "Fine-tune succeeded"
    assert messages[-1] == f"Created fine-tune: {job.id}"
    assert messages.index("Completed epoch 2/2") < messages.index("Completed epoch 1/2")
    assert {event.type for event in events} <= {"message", "metrics"}


@pytest.mark.contract("GET /v1/fine_tuning/jobs/{job_id}/checkpoints", ("", "after", "limit"), "honoured")
def test_checkpoints_answer(client: openai.OpenAI, job: Any) -> None:
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [point.step_number for point in checkpoints] == sorted(
        (point.step_number for point in checkpoints), reverse=True
    )
    assert len(checkpoints) == 2
    assert checkpoints[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    assert checkpoints[0].metrics.train_loss is not None
    answer = client.completions.create(model=checkpoints[1].fine_tuned_model_checkpoint, prompt="a", max_tokens=1)
    assert answer.choices


@pytest.mark.contract("GET /v1/fine_tuning/jobs", ("", "after", "limit"), "honoured")
def test_jobs_by_pages_newest_first(client: openai.OpenAI, job: Any) -> None:
    listed = [item.id for item in client.fine_tuning.jobs.list(limit=1)]
    assert job.id in listed
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("dialect", ["fine-tunes", "fine_tuning/jobs"])
def test_both_dialects_agree_over_a_jobs_life(
    server: Server, client: openai.OpenAI, wait: Callable[[str], Any], dialect: str
) -> None:
    train = client.files.create(file=("train.jsonl", jsonl(rows(8))), purpose="fine-tune").id
    hyper: dict[str, Any] = {"n_epochs": 2, "prompt_loss_weight": 0.5}
    fields = hyper if dialect == "fine-tunes" else {"hyperparameters": hyper}
    body = {"training_file": train, "model": "ada", "suffix": "two-tongues", **fields}
    job_id = server.call("POST", dialect, json=body).json()["id"]
    seen: set[str] = set()
    while not seen & {"succeeded", "failed", "cancelled"}:
        today = client.fine_tuning.jobs.retrieve(job_id)
        legacy = server.call("GET", f"fine-tunes/{job_id}").json()
        if client.fine_tuning.jobs.retrieve(job_id) == today:  # nothing changed in between
            same_job(legacy, today.to_dict())
            seen.add(today.status)
        time.sleep(0.05)
    assert seen == {*seen, "succeeded"}
    listed = next(item for item in server.call("GET", "fine-tunes").json()["data"] if item["id"] == job_id)
    same_job(listed, wait(job_id).to_dict())
    told = [event["message"] for event in server.call("GET", f"fine-tunes/{job_id}/events").json()["data"]]
    assert told[::-1] == [event.message for event in client.fine_tuning.jobs.list_events(job_id)]


def test_following_has_heartbeats_and_ends(server: Server, client: openai.OpenAI, wait: Callable[[str], Any]) -> None:
    import httpx

    train = client.files.create(file=("train.jsonl", jsonl(rows(8))), purpose="fine-tune").id
    job_id = server.call("POST", "fine-tunes", json={"training_file": train, "model": "ada", "n_epochs": 1}).json()[
        "id"
    ]
    url = f"{server.url}/fine-tunes/{job_id}/events?stream=true"
    with httpx.stream("GET", url, timeout=30, trust_env=False) as left_early:
        assert left_early.headers["content-type"].startswith("text/event-stream")
        next(left_early.iter_lines())
    with httpx.stream("GET", url, timeout=30, trust_env=False) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert ": heartbeat" in lines
    assert {line[:6] for line in lines} <= {"data: ", ": hear"}
    assert wait(job_id).status == "succeeded"


def test_a_client_that_leaves_stops_its_completion(client: openai.OpenAI) -> None:
    impatient = client.with_options(timeout=0.2)
    wanted: Any = {"model": "ada", "prompt": ["x"] * 64, "max_tokens": 400, "logit_bias": {"256": -100}}
    with pytest.raises(openai.APITimeoutError):
        impatient.completions.create(**wanted)
    started = time.monotonic()
    client.completions.create(model="ada", prompt="a", max_tokens=1)
    assert time.monotonic() - started < 5


def test_many_callers_at_once(client: openai.OpenAI) -> None:
    alone = client.completions.create(model="ada", prompt="abc", max_tokens=8, temperature=0).choices[0].text
    answers: list[str] = []

    def call() -> None:
        made = client.completions.create(model="ada", prompt="abc", max_tokens=8, temperature=0)
        answers.append(made.choices[0].text)

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 12


@pytest.mark.contract("GET /health", "", "honoured", how="Ours.")
def test_health_and_headers(server: Server) -> None:
    response = server.call("GET", server.url.removesuffix("/v1") + "/health")
    assert response.json()["status"] == "ok"
    assert response.headers["x-request-id"] == response.headers["request-id"]
    assert int(response.headers["openai-processing-ms"]) >= 0


def test_model_names_stand_for_what_they_say(client: openai.OpenAI) -> None:
    card = client.models.retrieve("ada").model_extra
    assert card
    assert card["details"]["pulled"]
    stand_in = client.models.retrieve("davinci").model_extra
    assert stand_in
    assert stand_in["details"]["note"]
