"""Chat with the real weights of `ada`: what transformers gives, and JSON of a schema."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.catalogue.entry import Entry, FolderSource
from luthier.completion.decoder import TransformerDecoder
from luthier.completion.engine import CompletionEngine
from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.chat import AnswerFormat
from luthier.domain.generation import FinishReason, SamplingParams
from luthier.modeling.bases import LocalBase
from luthier.modeling.loader import context_length, load_base
from luthier.services.chat import ChatRequest, ChatResult, ChatService
from luthier.services.models import ServedModel

MESSAGES = ({"role": "user", "content": "What is the capital of France?"},)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
    "additionalProperties": False,
}
TOKENS = 12

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def chat(ada_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatService]:
    """The service in float32, as the reference computes."""
    loaded = load_base(ada_folder, torch.float32)

    class OneModel:
        def resolve(self, name: str) -> ServedModel:
            base = LocalBase(name, ada_folder, Entry(name, name, FolderSource(ada_folder), {}))
            return ServedModel(name, base, None, Weights(ada_folder), loaded.tokenizer, context_length(ada_folder))

    engine = CompletionEngine(Settings(home=tmp_path_factory.mktemp("home")), lambda _: TransformerDecoder(loaded))
    engine.start()
    models: Any = OneModel()
    yield ChatService(models, engine)
    engine.stop()


def _ask(chat: ChatService, **fields: Any) -> ChatResult:
    params = SamplingParams(temperature=0)
    return asyncio.run(chat.create(ChatRequest("ada", MESSAGES, params, **fields)))


def test_a_greedy_answer_is_that_of_transformers(chat: ChatService, ada_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    auto: Any = AutoTokenizer
    tokenizer = auto.from_pretrained(ada_folder)
    inputs = tokenizer.apply_chat_template(
        list(MESSAGES), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    model: Any = AutoModelForCausalLM.from_pretrained(ada_folder, dtype=torch.float32)
    made = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    result = _ask(chat, max_tokens=TOKENS)
    assert result.usage.prompt_tokens == inputs["input_ids"].shape[1]
    assert result.usage.completion_tokens == len(made)
    assert result.choices[0].content == tokenizer.decode(made, skip_special_tokens=True)


def test_json_of_a_schema(chat: ChatService) -> None:
    (choice,) = _ask(chat, max_tokens=60, answer=AnswerFormat(SCHEMA, "capital", strict=True)).choices
    assert choice.finish_reason is FinishReason.STOP
    assert set(json.loads(choice.content or "")) == {"city", "capital"}
