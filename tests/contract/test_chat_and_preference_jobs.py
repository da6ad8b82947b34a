"""Chat and preference jobs of today's client, from the file to the answers of each checkpoint."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from contract_helpers import Server, serve

from luthier.config import Settings
from luthier.testing.chat import PLAIN_CHAT

PATH = "POST /v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def chat_server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose `gpt-4o-mini` is the tiny base, taught to chat."""
    home = tmp_path_factory.mktemp("chat-server")
    shutil.copytree(tiny_base, home / "chat-base")
    (home / "chat-base" / "chat_template.jinja").write_text(PLAIN_CHAT, encoding="utf-8")
    aliases = f'[aliases]\ngpt-4o-mini = "{(home / "chat-base").as_posix()}"\nada = "{tiny_base.as_posix()}"\n'
    (home / "aliases.toml").write_text(aliases, encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.setenv("WANDB_MODE", "offline")
    patch.setenv("WANDB_SILENT", "true")
    with serve(Settings(home=home, progress_seconds=0.2)) as running:
        yield running
    patch.undo()


@pytest.fixture(scope="module")
def today(chat_server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=chat_server.url, api_key="sk-test", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def finish(today: openai.OpenAI, make_wait: Callable[[openai.OpenAI], Callable[[str], Any]]) -> Callable[[str], Any]:
    return make_wait(today)


def chat(number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"What is {number}?"},
            {"role": "assistant", "content": "wrong", "weight": 0},
            {"role": "user", "content": "Really?"},
            {"role": "assistant", "content": "even" if number % 2 == 0 else "odd"},
        ]
    }


def preference(number: int) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": f"Greet {number}"}]},
        "preferred_output": [{"role": "assistant", "content": "good day"}],
        "non_preferred_output": [{"role": "assistant", "content": "oi"}],
    }


def upload(client: openai.OpenAI, values: list[dict[str, Any]]) -> str:
    content = "".join(json.dumps(value) + "\n" for value in values).encode()
    file = client.files.create(file=("a.jsonl", content), purpose="fine-tune")
    assert file.status == "processed", file.status_details
    return file.id


def table(client: openai.OpenAI, job: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.files.content(job.result_files[0]).text)))


def check_checkpoints(client: openai.OpenAI, job: Any, steps: list[int]) -> None:
    points = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [point.step_number for point in points] == steps[::-1]
    assert points[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    for point in points:
        assert point.metrics.valid_loss is not None
        assert point.metrics.train_mean_token_accuracy is not None
        name = point.fine_tuned_model_checkpoint
        prompt = "[user]What is 3?<|end|>[assistant]"
        answer = client.completions.create(model=name, prompt=prompt, max_tokens=3, logprobs=1)
        assert answer.model == name
        assert answer.choices[0].finish_reason in ("stop", "length")
        asked: Any = [{"role": "user", "content": "What is 3?"}]
        reply = client.chat.completions.create(model=name, messages=asked, max_completion_tokens=3, temperature=0)
        assert (reply.model, reply.choices[0].message.role) == (name, "assistant")


@pytest.mark.contract(
    PATH,
    ("", "training_file", "validation_file", "model", "suffix", "seed", "metadata", "method", "method.type",
     "method.supervised", "method.supervised.hyperparameters", "method.supervised.hyperparameters.n_epochs",
     "method.supervised.hyperparameters.batch_size", "method.supervised.hyperparameters.learning_rate_multiplier"),
    "honoured",
)  # fmt: skip
@pytest.mark.contract("GET /v1/fine_tuning/jobs/{job_id}/checkpoints", "", "honoured")
def test_a_chat_job(today: openai.OpenAI, finish: Callable[[str], Any]) -> None:
    train, valid = upload(today, [chat(n) for n in range(12)]), upload(today, [chat(n) for n in range(20, 24)])
    hyper: Any = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": "auto"}
    job = today.fine_tuning.jobs.create(
        training_file=train,
        validation_file=valid,
        model="gpt-4o-mini",
        suffix="even-or-odd",
        seed=5,
        metadata={"team": "a"},
        method={"type": "supervised", "supervised": {"hyperparameters": hyper}},
    )
    assert job.method is not None
    assert job.method.type == "supervised"
    assert job.method.supervised is not None
    assert job.method.dpo is None
    done = finish(job.id)
    assert done.status == "succeeded", done.error
    assert (done.seed, done.metadata) == (5, {"team": "a"})
    assert done.fine_tuned_model == f"ft:gpt-4o-mini:personal:even-or-odd:{job.id[-8:]}"
    used = done.method.supervised.hyperparameters
    assert (used.n_epochs, used.batch_size) == (2, 4)
    assert used.learning_rate_multiplier > 0
    rows = table(today, done)
    assert list(rows[-1])[:6] == [
        "step", "elapsed_tokens", "elapsed_examples", "training_loss", "training_sequence_accuracy",
        "training_token_accuracy",
    ]  # fmt: skip
    assert float(rows[-1]["training_loss"]) < float(rows[0]["training_loss"])
    check_checkpoints(today, done, [3, 6])


@pytest.mark.contract(
    PATH,
    ("method.dpo", "method.dpo.hyperparameters", "method.dpo.hyperparameters.n_epochs",
     "method.dpo.hyperparameters.batch_size", "method.dpo.hyperparameters.learning_rate_multiplier",
     "method.dpo.hyperparameters.beta", "method.dpo.hyperparameters.method", "method.dpo.hyperparameters.lora_rank"),
    "honoured",
)  # fmt: skip
def test_a_dpo_job(today: openai.OpenAI, chat_server: Server, finish: Callable[[str], Any]) -> None:
    train, valid = upload(today, [preference(n) for n in range(12)]), upload(today, [preference(99)])
    hyper: Any = {"n_epochs": 2, "batch_size": 4, "beta": 0.3, "learning_rate_multiplier": 1.0}
    hyper |= {"method": "lora", "lora_rank": 4}
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": hyper}}
    job = today.fine_tuning.jobs.create(training_file=train, validation_file=valid, model="gpt-4o-mini", method=method)
    done = finish(job.id)
    assert done.status == "succeeded", done.error
    assert done.method.type == "dpo"
    assert done.method.supervised is None
    assert done.method.dpo.hyperparameters.beta == 0.3
    legacy = chat_server.call("GET", f"fine-tunes/{job.id}").json()["hyperparams"]
    assert (legacy["beta"], legacy["lora_rank"], "prompt_loss_weight" in legacy) == (0.3, 4, False)
    rows = table(today, done)
    assert {
        "training_loss", "training_token_accuracy", "training_reward_accuracy", "training_reward_margin",
        "training_preferred_reward", "training_non_preferred_reward", "validation_loss", "validation_reward_accuracy",
    } <= set(rows[0])  # fmt: skip
    assert "training_sequence_accuracy" not in rows[0]
    assert float(rows[0]["training_loss"]) == pytest.approx(0.6931, abs=1e-3)
    assert float(rows[-1]["training_loss"]) < 0.6
    assert float(rows[-1]["validation_reward_accuracy"]) == 1
    check_checkpoints(today, done, [3, 6])


@pytest.mark.contract(PATH, ("integrations", "integrations[].type", "integrations[].wandb",
    "integrations[].wandb.project", "integrations[].wandb.name", "integrations[].wandb.entity",
    "integrations[].wandb.tags"), "honoured")  # fmt: skip
@pytest.mark.contract(PATH, "hyperparameters", "honoured")
def test_a_job_that_is_followed_at_weights_and_biases(
    today: openai.OpenAI, chat_server: Server, finish: Callable[[str], Any]
) -> None:
    pytest.importorskip("wandb")
    train = upload(today, [chat(n) for n in range(4)])
    run: Any = {"project": "p", "name": "n", "entity": "me", "tags": ["x"]}
    job = today.fine_tuning.jobs.create(
        training_file=train,
        model="gpt-4o-mini",
        hyperparameters={"n_epochs": 1},
        integrations=[{"type": "wandb", "wandb": run}],
    )
    assert job.integrations is not None
    assert job.integrations[0].wandb.model_dump() == run
    assert finish(job.id).status == "succeeded"
    told = [event.message for event in today.fine_tuning.jobs.list_events(job.id)]
    assert f"Weights & Biases: the run is kept in {chat_server.home / 'wandb'}" in told
    assert list((chat_server.home / "wandb").rglob(f"run-{job.id}.wandb"))


@pytest.mark.contract(PATH, "method.reinforcement", "refused", how="There is no reinforcement learning here.")
def test_what_does_not_fit(today: openai.OpenAI) -> None:
    chats, pairs = upload(today, [chat(1)]), upload(today, [preference(1)])

    def refused(words: str, **fields: Any) -> None:
        with pytest.raises(openai.BadRequestError, match=words):
            today.fine_tuning.jobs.create(**{"model": "gpt-4o-mini", "training_file": chats, **fields})

    refused("has no chat template", model="ada")
    refused("preference examples. They are for the method 'dpo'", training_file=pairs)
    refused("learns from preference examples", method={"type": "dpo"})
    refused("'reinforcement' is not supported", method={"type": "reinforcement", "reinforcement": {}})
    refused("Give them once", hyperparameters={"n_epochs": 1}, method={
        "type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}})  # fmt: skip
    mixed = today.files.create(
        file=("a.jsonl", "\n".join(json.dumps(value) for value in (chat(1), preference(1))).encode()),
        purpose="fine-tune",
    )
    assert mixed.status == "error"
    assert mixed.status_details is not None
    assert mixed.status_details.startswith("Line 2: it is a preference example, but the file's first")
