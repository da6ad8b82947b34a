"""Conversations: which bases and methods they go with, told before a job is created."""

import json
import shutil

import pytest

from luthier.domain.hyperparameters import Hyperparameters, Objective
from luthier.domain.job import Dialect, WandbRun
from luthier.errors import InvalidRequestError
from luthier.executors import tracking
from luthier.modeling.bases import BaseStore
from luthier.services import file_checks
from luthier.services.files import FileService
from luthier.services.fine_tunes import CreateFineTune, FineTuneService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore
from luthier.storage.models import TunedModelStore
from luthier.testing.chat import PLAIN_CHAT

DPO = Hyperparameters(objective=Objective.DPO)
MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
CHAT = {"messages": MESSAGES}
TOOLED = {**CHAT, "tools": [{"type": "function", "function": {"name": "look"}}]}
PAIR = {
    "input": {"messages": MESSAGES[:1]},
    "preferred_output": MESSAGES[1:],
    "non_preferred_output": [{"role": "assistant", "content": "no"}],
}
PROMPT = {"prompt": "a ->", "completion": " b"}


class FakeExecutor:
    def wake(self):
        pass


@pytest.fixture
def chat_base(tiny_base, tmp_path):
    folder = tmp_path / "chat-base"
    shutil.copytree(tiny_base, folder)
    (folder / "chat_template.jinja").write_text(PLAIN_CHAT, encoding="utf-8")
    return str(folder)


@pytest.fixture
def create(settings, chat_base):
    db = Database.open(settings)
    files = FileService(settings, FileStore(db), Blobs(settings))
    jobs = FineTuneService(
        settings, JobStore(db), FileStore(db), TunedModelStore(db), FakeExecutor(), BaseStore(settings)
    )

    def upload(lines):
        return files.create("a.jsonl", "fine-tune", ["\n".join(map(json.dumps, lines)).encode()]).id

    def create(lines, hp=None, *, valid=None, model=chat_base, dialect=Dialect.JOBS, **fields):
        fields["validation_file"] = upload(valid) if valid else None
        return jobs.create(
            CreateFineTune(upload(lines), model, dialect, hyperparameters=hp or Hyperparameters(), **fields)
        )

    yield create
    db.close()


@pytest.mark.parametrize(
    ("lines", "hp", "param", "words"),
    [
        ([PAIR], None, "method", "holds preference examples. They are for the method 'dpo'"),
        ([CHAT], DPO, "training_file", "learns from preference examples, and a line of .* is a chat example"),
        ([PROMPT], DPO, "training_file", "is a prompt with its completion"),
        ([CHAT, TOOLED], None, "training_file", r"a.jsonl \(file-\w+\), line 2: it has `tools`"),
        ([CHAT], Hyperparameters(prompt_loss_weight=0.5), "prompt_loss_weight", "is for prompts with completions"),
        ([CHAT], Hyperparameters(beta=0.1), "beta", "The method 'supervised' has no beta"),
        ([PAIR], Hyperparameters(objective=Objective.DPO, beta=0), "beta", "above 0"),
        ([PAIR], Hyperparameters(objective=Objective.DPO, prompt_loss_weight=0.1), "prompt_loss_weight", "has no"),
    ],
)
def test_what_does_not_go_together(create, lines, hp, param, words):
    with pytest.raises(InvalidRequestError, match=words) as error:
        create(lines, hp)
    assert error.value.param == param


def test_conversations_need_a_template(create, tiny_base):
    for lines, hp in (([CHAT], None), ([PAIR], DPO)):
        with pytest.raises(InvalidRequestError, match="has no chat template") as error:
            create(lines, hp, model=str(tiny_base))
        assert error.value.param == "model"


def test_both_files_have_one_format(create):
    with pytest.raises(InvalidRequestError, match="one of the validation file a prompt") as error:
        create([CHAT], valid=[PROMPT])
    assert error.value.param == "validation_file"


def test_the_first_dialect_takes_chat_and_sends_preferences_on(create):
    assert create([CHAT], valid=[CHAT], dialect=Dialect.LEGACY).resolved.objective is Objective.SUPERVISED
    with pytest.raises(InvalidRequestError, match="through /v1/fine_tuning/jobs"):
        create([PAIR], dialect=Dialect.LEGACY)


def test_what_is_chosen_for_preferences(create):
    used = create([PAIR] * 4, DPO).resolved
    assert (used.objective, used.beta, used.prompt_loss_weight) == (Objective.DPO, 0.1, 0.0)
    assert used.learning_rate_multiplier == pytest.approx(create([CHAT] * 4).resolved.learning_rate_multiplier / 10)
    with pytest.raises(InvalidRequestError, match="only 4 examples"):
        create([PAIR] * 4, Hyperparameters(objective=Objective.DPO, batch_size=5))


@pytest.mark.parametrize(
    ("organization", "project", "words"),
    [("x" * 65, None, "up to 64"), ("ö-ü\x7f", None, "printable"), ("!?", None, "Nothing of the organization"),
     ("a", "p" * 65, "OpenAI-Project")],
)  # fmt: skip
def test_an_organization_must_fit_into_a_name(create, organization, project, words):
    with pytest.raises(InvalidRequestError, match=words):
        create([CHAT], organization=organization, project=project)


def test_weights_and_biases_needs_package_and_key(create, monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda _name: None)
    run = WandbRun("p", tags=("a",))
    with pytest.raises(InvalidRequestError, match=r"luthier\[wandb\]") as error:
        create([CHAT], wandb=run)
    assert error.value.param == "integrations"
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(InvalidRequestError, match="no key for Weights & Biases"):
        create([CHAT], wandb=run)
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password k\n", encoding="utf-8")
    assert create([CHAT], wandb=run).wandb == run
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with pytest.raises(InvalidRequestError, match="no key"):
        create([CHAT], wandb=run)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert create([CHAT], wandb=run).wandb == run
    for wrong in (WandbRun("a/b"), WandbRun(" "), WandbRun("p", tags=("t" * 65,))):
        with pytest.raises(InvalidRequestError, match="cannot be at Weights & Biases"):
            create([CHAT], wandb=wrong)


def test_examples_too_long_for_a_base_that_is_here_are_refused_at_once(create, monkeypatch):
    long = {**PROMPT, "prompt": "a" * 600}
    with pytest.raises(InvalidRequestError, match=r"the 512 tokens .*: line 2 \(602 tokens\), line 3 \(602") as told:
        create([PROMPT, long, long])
    assert (told.value.param, told.value.message.startswith("a.jsonl (file-")) == ("training_file", True)
    with pytest.raises(InvalidRequestError, match=r"line 1 \(602 tokens\)\. Shorten") as told:
        create([PROMPT] * 2, valid=[long])
    assert told.value.param == "validation_file"
    conversation = {"messages": [{"role": "user", "content": "hi" * 300}, MESSAGES[1]]}
    with pytest.raises(InvalidRequestError, match=r"line 2 \(\d+ tokens\)\. Shorten"):
        create([CHAT, conversation])
    monkeypatch.setattr(file_checks, "_MAX_COUNTED_BYTES", 100)  # what takes too long to count is left to the job
    create([PROMPT, long])


def test_examples_that_cannot_be_too_long_are_not_tokenized(create, monkeypatch):
    monkeypatch.setattr(file_checks, "HFTokenizer", None)
    create([{**PROMPT, "prompt": "a" * 509}] * 2)
