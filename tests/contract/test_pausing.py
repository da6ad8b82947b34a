"""Pausing and resuming through today's client, and on whose behalf a job is."""

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from contract_helpers import OldClient, Server, jsonl, rows


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.contract("POST /v1/fine_tuning/jobs/{job_id}/pause", "", "honoured")
@pytest.mark.contract("POST /v1/fine_tuning/jobs/{job_id}/resume", "", "honoured")
def test_a_job_is_paused_and_goes_on(client: openai.OpenAI, server: Server, wait: Callable[[str], Any]) -> None:
    jobs = client.fine_tuning.jobs
    train = client.files.create(file=("train.jsonl", jsonl(rows(40))), purpose="fine-tune").id
    long = {"n_epochs": 20, "batch_size": 1}
    first = jobs.create(training_file=train, model="ada", hyperparameters=long).id  # type: ignore[arg-type]
    second = jobs.create(training_file=train, model="ada", hyperparameters={"n_epochs": 1}).id
    with pytest.raises(openai.BadRequestError, match="not paused"):
        jobs.resume(second)
    assert jobs.pause(second).status == "paused"
    assert server.call("GET", f"fine-tunes/{second}").json()["status"] == "pending"
    until(lambda: any(event.type == "metrics" for event in jobs.list_events(first, limit=5)))
    jobs.pause(first)
    assert jobs.resume(second).status in ("queued", "running")
    until(lambda: jobs.retrieve(first).status == "paused")
    assert wait(second).status == "succeeded"
    assert jobs.retrieve(first).status == "paused"
    with pytest.raises(openai.BadRequestError, match="in use"):
        client.files.delete(train)
    jobs.resume(first)
    assert wait(first).status == "succeeded"
    steps = [point.step_number for point in jobs.checkpoints.list(first, limit=100)]
    assert steps == list(range(800, 0, -40))
    told = [event.message.partition(" after")[0] for event in jobs.list_events(first, limit=100)]
    assert "Fine-tune paused" in told
    assert "Fine-tune resumed; it goes on" in told


@pytest.mark.contract("POST /v1/fine_tuning/jobs", ("header OpenAI-Organization", "header OpenAI-Project"), "honoured")
def test_a_job_keeps_organization_and_project(server: Server, wait: Callable[[str], Any]) -> None:
    with openai.OpenAI(
        base_url=server.url, api_key="sk-test", organization="Org_Abc", project="proj-1", timeout=60
    ) as client:
        train = client.files.create(file=("train.jsonl", jsonl(rows(4))), purpose="fine-tune").id
        job = client.fine_tuning.jobs.create(training_file=train, model="ada", suffix="s" * 64, hyperparameters={})
    assert (job.organization_id, job.model_extra["project_id"]) == ("Org_Abc", "proj-1")  # type: ignore[index]
    model = wait(job.id).fine_tuned_model
    assert model == f"ft:ada:org-abc:{'s' * 64}:{job.id[-8:]}"
    assert server.call("GET", f"models/{model}").json()["owned_by"] == "Org_Abc"


@pytest.mark.contract("POST /v1/fine-tunes", "header OpenAI-Organization", "honoured")
def test_the_old_client_names_an_organization_too(old_client: OldClient, client: openai.OpenAI) -> None:
    train = client.files.create(file=("train.jsonl", jsonl(rows(400))), purpose="fine-tune").id
    told = old_client.run(
        "openai.organization = 'org-old'\n"
        f"print(openai.FineTune.create(training_file='{train}', model='ada', n_epochs=50, batch_size=1).id)"
    )
    job = client.fine_tuning.jobs.retrieve(told.strip())
    assert job.organization_id == "org-old"
    client.fine_tuning.jobs.cancel(job.id)
