"""Every hyperparameter reaches the job, wherever a client may write it."""

from collections.abc import Callable
from typing import Any

import pytest
from contract_helpers import Server, jsonl, rows

from luthier.server.wire.hyperparameters import HyperparametersBody

Fields = dict[str, Any]

SETS: dict[str, Fields] = {
    "binary": {
        "n_epochs": 2,
        "batch_size": 2,
        "learning_rate_multiplier": 0.3,
        "prompt_loss_weight": 0.25,
        "compute_classification_metrics": True,
        "classification_positive_class": " baseball",
        "classification_betas": [0.5],
        "method": "lora",
        "lora_rank": 3,
    },
    "multiclass": {
        "n_epochs": 3,
        "batch_size": 4,
        "learning_rate_multiplier": 0.2,
        "prompt_loss_weight": 0.75,
        "compute_classification_metrics": True,
        "classification_n_classes": 2,
        "method": "full",
    },
    "chosen by the server": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
}
PLACES: dict[str, tuple[str, Callable[[Fields], Fields]]] = {
    "": ("POST /v1/fine-tunes", lambda given: given),
    "hyperparameters": ("POST /v1/fine_tuning/jobs", lambda given: {"hyperparameters": given}),
    "method.supervised.hyperparameters": (
        "POST /v1/fine_tuning/jobs",
        lambda given: {"method": {"type": "supervised", "supervised": {"hyperparameters": given}}},
    ),
}


def shown_here() -> list[Any]:
    """Each place with a marker for each field of it."""
    cases = []
    for place, (endpoint, wrap) in PLACES.items():
        parts = place.split(".") if place else []
        above = tuple(".".join(parts[: i + 1]) for i in range(len(parts)))
        names = tuple(f"{place}.{name}".removeprefix(".") for name in HyperparametersBody.model_fields)
        marks = [pytest.mark.contract(endpoint, (*above, *names), "honoured")]
        if above[:1] == ("method",):
            marks.append(pytest.mark.contract(endpoint, "method.type", "honoured"))
        cases.append(pytest.param(endpoint, wrap, id=place or "fine-tune", marks=marks))
    return cases


@pytest.fixture(scope="module")
def files(server: Server) -> Fields:
    def upload(name: str, content: bytes) -> str:
        sent = server.call("POST", "files", data={"purpose": "fine-tune"}, files={"file": (name, content)})
        return str(sent.json()["id"])

    return {
        "training_file": upload("train.jsonl", jsonl(rows(8))),
        "validation_file": upload("valid.jsonl", jsonl(rows(4, start=8))),
    }


def test_two_values_of_each() -> None:
    for name in HyperparametersBody.model_fields:
        given = [fields.get(name) for fields in SETS.values()]
        assert len({repr(value) for value in given}) > 1, f"give {name!r} two values in SETS"


@pytest.mark.parametrize(("endpoint", "wrap"), shown_here())
def test_hyperparameters_reach_the_job(
    server: Server, files: Fields, endpoint: str, wrap: Callable[[Fields], Fields]
) -> None:
    path = endpoint.removeprefix("POST /v1/")
    made = []
    for given in SETS.values():
        answer = server.call("POST", path, json={**files, "model": "ada", **wrap(given)})
        assert answer.status_code == 200, answer.text
        made.append(answer.json()["id"])
    for job_id in reversed(made):  # those that wait first: they never start
        server.call("POST", f"fine-tunes/{job_id}/cancel")
    for job_id, given in zip(made, SETS.values(), strict=True):
        shown = server.call("GET", f"fine-tunes/{job_id}").json()["hyperparams"]
        for name, value in given.items():
            if value == "auto":
                assert shown[name] > 0
            else:
                assert shown[name] == value, name


@pytest.mark.contract("POST /v1/fine-tunes", ("suffix", "seed"), "honoured")
@pytest.mark.contract("POST /v1/fine_tuning/jobs", ("validation_file", "suffix", "seed", "metadata"), "honoured")
def test_the_other_fields_of_a_creation(server: Server, files: Fields, wait: Callable[[str], Any]) -> None:
    common = {**files, "model": "ada", "suffix": "my-name", "seed": 9}
    short = {"n_epochs": 1, "batch_size": 8}
    legacy = server.call("POST", "fine-tunes", json={**common, **short}).json()
    today = server.call("POST", "fine_tuning/jobs", json={**common, "hyperparameters": short, "metadata": {"a": "b"}})
    assert today.json()["metadata"] == {"a": "b"}
    for job_id, name in ((legacy["id"], ":ft-personal:my-name-"), (today.json()["id"], ":personal:my-name:")):
        job = wait(job_id)
        assert name in job.fine_tuned_model
        assert (job.seed, job.validation_file) == (9, files["validation_file"])


@pytest.mark.contract(
    "POST /v1/fine_tuning/jobs", "method.reinforcement", "refused", how="Only supervised and dpo are there."
)
def test_reinforcement_is_refused(server: Server, files: Fields) -> None:
    for method in ({"type": "reinforcement"}, {"type": "supervised", "reinforcement": {}}):
        refused = server.call("POST", "fine_tuning/jobs", json={**files, "model": "ada", "method": method})
        assert refused.status_code == 400
        assert "reinforcement" in refused.json()["error"]["message"]
