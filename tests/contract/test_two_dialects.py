"""Whatever happens to a job, in whatever order, both dialects of the API say the same of it, and Azure's too."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from contract_helpers import Server, jsonl, rows, same_job, serve
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Method
from luthier.domain.job import Job, Status
from luthier.domain.model import TunedModel
from luthier.domain.names import model_name, result_file_id
from luthier.storage.db import Database
from luthier.storage.jobs import JobStore, event

LIFE = hypothesis_settings(
    max_examples=15,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
HYPERPARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "n_epochs": st.sampled_from(["auto", 1, 3]),
        "batch_size": st.sampled_from(["auto", 1, 2]),
        "learning_rate_multiplier": st.sampled_from(["auto", 0.1]),
        "prompt_loss_weight": st.sampled_from([0, 0.1]),
        "adapter": st.sampled_from([{"method": "lora"}, {"method": "full"}, {"method": "lora", "lora_rank": 2}]),
    },
).map(lambda given: {**given.pop("adapter", {}), **given})
FIELDS = st.fixed_dictionaries({}, optional={"suffix": st.sampled_from(["mine", "a b"]), "seed": st.integers(0, 9)})
AZURE_STATUS = {"queued": "notRunning", "paused": "notRunning", "cancelled": "canceled"}
ALIKE_AT_AZURE = ("id", "created_at", "updated_at", "model", "fine_tuned_model", "hyperparams", "organization_id")
METRICS = st.dictionaries(st.sampled_from(["step", "train_loss", "epoch"]), st.integers(0, 9), min_size=1)


@pytest.fixture(scope="module")
def idle(idle_settings: Settings) -> Iterator[tuple[Server, JobStore]]:
    """A server whose jobs wait for this test to say what becomes of them, and its store."""
    with serve(idle_settings) as server:
        database = Database.open(idle_settings)
        try:
            yield server, JobStore(database)
        finally:
            database.close()


class LivesOfJobs(RuleBasedStateMachine):
    """Jobs that are made through either dialect, and everything that a worker or an owner may do to them."""

    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self, server: Server, store: JobStore) -> None:
        super().__init__()
        self.server, self.store = server, store
        self.azure = server.url.removesuffix("/v1") + "/openai"
        self.alive: list[str] = []
        self.files = [self._upload(name, start) for start, name in enumerate(("train.jsonl", "valid.jsonl"))]

    def _upload(self, name: str, start: int) -> str:
        sent = {"data": {"purpose": "fine-tune"}, "files": {"file": (name, jsonl(rows(8, start)))}}
        return str(self.server.call("POST", "files", **sent).json()["id"])

    def _status(self, job: str) -> Status:
        return self.store.get(job).status

    @rule(target=jobs, legacy=st.booleans(), hyperparameters=HYPERPARAMETERS, fields=FIELDS, valid=st.booleans())
    def create(self, legacy: bool, hyperparameters: dict[str, Any], fields: dict[str, Any], valid: bool) -> str:
        body = {"training_file": self.files[0], "model": "ada", **fields}
        body |= {"validation_file": self.files[1]} if valid else {}
        body |= hyperparameters if legacy else {"hyperparameters": hyperparameters}
        made = self.server.call("POST", "fine-tunes" if legacy else "fine_tuning/jobs", json=body)
        assert made.status_code == 200, made.text
        self.alive.append(made.json()["id"])
        return self.alive[-1]

    @rule()
    def start_the_oldest(self) -> None:
        self.store.claim_next()

    @rule(job=jobs)
    def server_stops(self, job: str) -> None:
        if self._status(job) is Status.RUNNING:
            self.store.transition(job, event("Waits for the server"), status=Status.QUEUED)

    @rule(job=jobs, data=st.none() | METRICS, level=st.sampled_from(["info", "warn", "error"]))
    def tell(self, job: str, data: dict[str, int] | None, level: str) -> None:
        self.store.add_event(job, event("Something happened", level=level, data=data))

    @rule(job=jobs)
    def reach_a_checkpoint(self, job: str) -> None:
        if self._status(job) is Status.RUNNING:
            self.store.transition(job, base="ada", checkpoint_step=(self.store.get(job).checkpoint_step or 0) + 1)

    @rule(job=jobs)
    def succeed(self, job: str) -> None:
        if self._status(job) is Status.RUNNING:
            self._finish(self.store.get(job))

    def _finish(self, job: Job) -> None:
        now = int(time.time())
        results = File(result_file_id(job.id), "results.csv", Purpose.RESULTS, 7, now, FileStatus.PROCESSED)
        name = model_name(job, "ada", now + len(self.store.list().items))
        model = TunedModel(f"{name}{job.id[-4:]}", "ada", job.model, Method.LORA, job.id, job.id, now)
        self.store.finish(
            job.id,
            [event("Fine-tune succeeded")],
            files=[results],
            models=[model],
            status=Status.SUCCEEDED,
            fine_tuned_model=model.id,
            result_file=results.id,
            trained_tokens=5,
        )

    @rule(job=jobs)
    def fail(self, job: str) -> None:
        if self._status(job) in (Status.QUEUED, Status.RUNNING):
            told = event("Fine-tune failed", level="error")
            self.store.transition(job, told, status=Status.FAILED, error="Out of luck.")

    @rule(job=jobs, legacy=st.booleans())
    def cancel(self, job: str, legacy: bool) -> None:
        over = self._status(job).is_final
        path = "fine-tunes" if legacy else "fine_tuning/jobs"
        assert self.server.call("POST", f"{path}/{job}/cancel").status_code == (400 if over else 200)

    @rule(job=jobs, action=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, job: str, action: str) -> None:
        assert self.server.call("POST", f"fine_tuning/jobs/{job}/{action}").status_code in (200, 400)

    @rule(job=jobs)
    def stop_when_asked(self, job: str) -> None:
        found = self.store.get(job)
        if found.status is Status.RUNNING and (found.cancel_requested or found.pause_requested):
            self.store.settle(job)

    @rule()
    def delete_the_validation_file(self) -> None:
        if self.server.call("DELETE", f"files/{self.files[1]}").status_code == 200:
            self.files[1] = self._upload("another.jsonl", 1)

    @rule(job=consumes(jobs))
    def forget(self, job: str) -> None:
        if not self._status(job).is_final:
            refused = self.server.call("DELETE", f"fine-tunes/{job}")
            assert refused.status_code == 400
            self.store.request_cancel(job)
            self.stop_when_asked(job)
        assert self.server.call("DELETE", f"fine-tunes/{job}").status_code == 200
        self.alive.remove(job)
        for path in ("fine-tunes", "fine_tuning/jobs"):
            assert self.server.call("GET", f"{path}/{job}").status_code == 404

    @invariant()
    def both_say_the_same(self) -> None:
        legacy = self.server.call("GET", "fine-tunes").json()["data"]
        today = self.server.call("GET", "fine_tuning/jobs?limit=100").json()["data"]
        assert [job["id"] for job in legacy] == [job["id"] for job in reversed(today)] == self.alive
        azure = self.server.call("GET", f"{self.azure}/fine-tunes?api-version=2023-05-15").json()["data"]
        for listed, listed_today, listed_azure in zip(legacy, reversed(today), azure, strict=True):
            same_job(listed, listed_today)
            assert listed_azure["status"] == AZURE_STATUS.get(listed_today["status"], listed_today["status"])
            assert {name: listed_azure[name] for name in ALIKE_AT_AZURE} == {
                name: listed[name] for name in ALIKE_AT_AZURE
            }
        for job in self.alive[-2:]:
            one = self.server.call("GET", f"fine-tunes/{job}").json()
            events = one.pop("events")
            one_today = self.server.call("GET", f"fine_tuning/jobs/{job}").json()
            assert (one, one_today) == (legacy[self.alive.index(job)], today[-1 - self.alive.index(job)])
            told = self.server.call("GET", f"fine_tuning/jobs/{job}/events?limit=100").json()["data"]
            assert [{**event, "object": ""} for event in events] == [{**event, "object": ""} for event in told[::-1]]

    def teardown(self) -> None:
        for job in list(self.alive):
            self.forget(job)


def test_both_dialects_agree_over_the_life_of_a_job(idle: tuple[Server, JobStore]) -> None:
    run_state_machine_as_test(lambda: LivesOfJobs(*idle), settings=LIFE)
