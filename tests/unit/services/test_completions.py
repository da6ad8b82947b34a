"""Completions: every rule of a request, every field's effect, and the form of the answer."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.catalogue.entry import Entry, FolderSource
from luthier.completion.engine import CompletionEngine
from luthier.completion.fake import FakeDecoder, Rule, parrot
from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.domain.generation import FinishReason, SamplingParams
from luthier.errors import InvalidRequestError, LuthierError, NotFoundError, UnavailableError, WeightsError
from luthier.modeling.bases import LocalBase
from luthier.services.completions import (
    CompletionChunk,
    CompletionRequest,
    CompletionResult,
    CompletionService,
)
from luthier.services.models import ServedModel
from luthier.testing import ByteTokenizer

CONTEXT = 100
UNIFORM = -math.log(257)


class OneModel:
    """Stands in for ModelService: one base, `ada`."""

    tokenizer = ByteTokenizer()

    def resolve(self, name: str) -> ServedModel:
        if name != "ada":
            raise NotFoundError(f"The model '{name}' does not exist", param="model", code="model_not_found")
        folder = Path("ada")
        base = LocalBase("ada", folder, Entry("ada", "A fake", FolderSource(folder), {}))
        return ServedModel(name, base, None, Weights(folder), self.tokenizer, CONTEXT)


Serve = Callable[..., CompletionService]


@pytest.fixture
def serve(settings: Settings) -> Iterator[Serve]:
    engines = []

    def started(rule: Rule | None = None) -> CompletionService:
        engine = CompletionEngine(settings, lambda _: FakeDecoder(rule))
        engine.start()
        engines.append(engine)
        models: Any = OneModel()
        return CompletionService(models, engine)

    yield started
    for engine in engines:
        engine.stop()


def request(prompt: str | list[str] | list[int] | list[list[int]] = "hel", **fields: Any) -> CompletionRequest:
    """A greedy request; fields of SamplingParams and of CompletionRequest alike."""
    params = {name: fields.pop(name) for name in list(fields) if name in SamplingParams.__dataclass_fields__}
    bias = params.pop("logit_bias", {})
    prompts = (prompt,) if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)) else prompt
    typed = tuple(one if isinstance(one, str) else tuple(one) for one in prompts)
    return CompletionRequest("ada", typed, SamplingParams(**{"temperature": 0, **params}), logit_bias=bias, **fields)


def create(service: CompletionService, asked: CompletionRequest) -> CompletionResult:
    return asyncio.run(service.create(asked))


def stream(service: CompletionService, asked: CompletionRequest) -> list[CompletionChunk]:
    async def gather() -> list[CompletionChunk]:
        return [chunk async for chunk in await service.stream(asked)]

    return asyncio.run(gather())


def test_an_answer(serve: Serve):
    answer = create(serve(parrot("hello")), request())
    (choice,) = answer.choices
    assert (choice.text, choice.index, choice.logprobs, choice.finish_reason) == ("lo", 0, None, FinishReason.STOP)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 3, 6)
    assert answer.model == "ada"
    assert answer.id.startswith("cmpl-")


def test_several_prompts_as_text_and_ids(serve: Serve):
    service = serve(parrot("hello"))
    texts = create(service, request(["h", "hel"], n=2))
    assert [(one.index, one.text) for one in texts.choices] == [(0, "ello"), (1, "ello"), (2, "lo"), (3, "lo")]
    assert texts.usage.prompt_tokens == 4
    ids = create(service, request([[104], [104, 101, 108]]))
    assert [one.text for one in ids.choices] == ["ello", "lo"]


def test_an_empty_prompt_is_the_beginning_of_a_text(serve: Serve):
    answer = create(serve(parrot("hi")), request("", echo=True, logprobs=0))
    (choice,) = answer.choices
    assert choice.text == "hi"
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["<|end|>", "h", "i", "<|end|>"]
    assert choice.logprobs.text_offset == [0, 0, 1, 2]
    assert answer.usage.prompt_tokens == 1


def test_an_end_token_that_the_prompt_spells_out_has_its_width(serve: Serve):
    asked = request([97, 256, 98], echo=True, logprobs=0, max_tokens=1)
    service = serve(lambda _: {256: 20.0})
    (choice,) = create(service, asked).choices
    assert choice.text == "a<|end|>b"
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["a", "<|end|>", "b", "<|end|>"]
    assert choice.logprobs.text_offset == [0, 1, 8, 9]
    offsets = [offset for chunk in stream(service, asked) if chunk.logprobs for offset in chunk.logprobs.text_offset]
    assert offsets == choice.logprobs.text_offset


def test_echo_without_log_probabilities(serve: Serve):
    service = serve(parrot("hello"))
    assert create(service, request(echo=True)).choices[0].text == "hello"
    assert create(service, request(echo=True, max_tokens=0)).choices[0].text == "hel"
    assert create(service, request([104, 0xED], echo=True, max_tokens=0)).choices[0].text == "h�"


def test_log_probabilities_in_the_old_form(serve: Serve):
    (choice,) = create(serve(parrot("hello", 3.0)), request(logprobs=2, max_tokens=1)).choices
    logprobs = choice.logprobs
    assert logprobs is not None
    expected = 3 - math.log(256 + math.exp(3))
    assert logprobs.tokens == ["l"]
    assert logprobs.token_logprobs == [pytest.approx(expected, abs=1e-5)]
    assert logprobs.text_offset == [3]
    (top,) = logprobs.top_logprobs
    assert top is not None
    assert next(iter(top)) == "l"
    assert len(top) == 2
    assert top["l"] == logprobs.token_logprobs[0]


def test_echoed_log_probabilities_begin_with_null(serve: Serve):
    (choice,) = create(serve(), request("abc", logprobs=1, echo=True, max_tokens=1)).choices
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens[:3] == ["a", "b", "c"]
    assert logprobs.token_logprobs == [None, *[pytest.approx(UNIFORM, abs=1e-5)] * 3]
    assert logprobs.text_offset == [0, 1, 2, 3]
    assert logprobs.top_logprobs[0] is None
    for token, value, top in list(zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True))[
        1:
    ]:
        assert top is not None
        assert top[token] == value
        assert len(top) <= 2


def test_log_probabilities_do_not_depend_on_how_tokens_are_chosen(serve: Serve):
    service = serve(parrot("hello", 3.0))
    plain = create(service, request("hel", max_tokens=1, logprobs=5)).choices[0].logprobs
    bent = request("hel", max_tokens=1, logprobs=5, temperature=0.1, logit_bias={"120": -50}, presence_penalty=1)
    assert plain is not None
    assert create(service, bent).choices[0].logprobs == plain


def test_best_of_returns_the_likeliest_and_counts_all(serve: Serve):
    service = serve(lambda _: {97: 2.0, 98: 1.0})
    params = {"temperature": 2, "seed": 1, "max_tokens": 4, "logprobs": 0}
    every = create(service, request("x", n=5, **params))
    best = create(service, request("x", n=2, best_of=5, **params))

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    likeliest = sorted(every.choices, key=mean, reverse=True)[:2]
    assert [choice.text for choice in best.choices] == [choice.text for choice in likeliest]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage == every.usage
    one = create(service, request("x", max_tokens=4, temperature=0))
    three = create(service, request("x", max_tokens=4, temperature=0, best_of=3))
    assert three.usage.completion_tokens == 3 * one.usage.completion_tokens
    assert len(three.choices) == 1


def test_each_field_changes_the_answer(serve: Serve):
    service = serve(lambda _: {97: 6.0, 98: 5.0, 99: 4.0})
    text = {"max_tokens": 8}

    def told(**fields: Any) -> str:
        return create(service, request("x", **{**text, **fields})).choices[0].text

    plain = told()
    assert plain == "a" * 8
    assert told(max_tokens=3) == "aaa"
    assert told(logit_bias={"97": -100}) == "b" * 8
    assert told(logit_bias={"256": 100}) == ""
    assert told(stop=("aaa",)) == ""
    assert told(frequency_penalty=2) != plain
    assert told(presence_penalty=2).startswith("ab")
    assert told(temperature=1.5, seed=1) != told(temperature=1.5, seed=2)
    assert told(temperature=1.5, seed=1) == told(temperature=1.5, seed=1)
    assert told(temperature=1.5, top_p=0, seed=1) == plain
    assert told(echo=True) == "x" + plain


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 2.5}, "temperature", "2.5 is greater than the maximum of 2"),
    ({"temperature": -0.1}, "temperature", "-0.1 is less than the minimum of 0"),
    ({"temperature": math.nan}, "temperature", "nan is not a number"),
    ({"top_p": 1.1}, "top_p", "1.1 is greater than the maximum of 1"),
    ({"top_p": -1}, "top_p", "less than the minimum"),
    ({"presence_penalty": 3}, "presence_penalty", "greater than the maximum of 2"),
    ({"frequency_penalty": -3}, "frequency_penalty", "less than the minimum of -2"),
    ({"logprobs": 6}, "logprobs", "6 is greater than the maximum of 5"),
    ({"logprobs": -1}, "logprobs", "less than the minimum of 0"),
    ({"n": 0}, "n", "less than the minimum of 1"),
    ({"n": 129}, "n", "greater than the maximum of 128"),
    ({"best_of": 0}, "best_of", "less than the minimum of 1"),
    ({"best_of": 21}, "best_of", "greater than the maximum of 20"),
    ({"n": 3, "best_of": 2}, "best_of", r"'n' \(currently 3\) to be at most 'best_of' \(currently 2\)"),
    ({"max_tokens": -1}, "max_tokens", "less than the minimum of 0"),
    ({"max_tokens": 0}, "max_tokens", "asks for nothing unless 'echo'"),
    ({"stop": tuple("abcde")}, "stop", "5 stop texts are more than the 4"),
    ({"stop": ("a", "")}, "stop", "must not be empty"),
    ({"logit_bias": {"97": 101}}, "logit_bias", "101 is greater than the maximum of 100.*'97'"),
    ({"logit_bias": {"97": math.inf}}, "logit_bias", "inf is greater"),
    ({"logit_bias": {"257": 1}}, "logit_bias", "257. Maximum value is 256"),
    ({"logit_bias": {"-1": 1}}, "logit_bias", "Invalid key"),
    ({"logit_bias": {" hi": 1}}, "logit_bias", r"' hi'.* 32 \(' '\), 104 \('h'\), 105 \('i'\)"),
    ({"logit_bias": {"": 1}}, "logit_bias", "no token at all"),
    ({"suffix": " end"}, "suffix", "not trained to fill in"),
    ({"prompt": []}, "prompt", "the list is empty"),
    ({"prompt": [[97], []]}, "prompt", "Prompt 1 is an empty list"),
    ({"prompt": ["a"] * 2049}, "prompt", "2049 prompts are more than the 2048"),
    ({"prompt": [97, 257]}, "prompt", "Token 1 of the prompt is 257, but this model's token ids go from 0 to 256"),
    ({"prompt": [[97], [-1]]}, "prompt", "Token 0 of prompt 1 is -1"),
    (
        {"prompt": "x" * 95, "max_tokens": 6},
        "max_tokens",
        r"This model's maximum context length is 100 tokens, however you requested 101 tokens \(95 in your prompt; 6 "
        r"for the completion\)\. Please reduce your prompt; or completion length\.",
    ),
    ({"prompt": "x" * 101}, "prompt", "you requested 117 tokens"),
]


@pytest.mark.parametrize(("fields", "param", "message"), BAD, ids=lambda value: str(value)[:30])
def test_what_cannot_be_honoured(serve: Serve, fields: dict[str, Any], param: str, message: str):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        create(serve(), request(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"prompt": "a<|end|>"}, "prompt", r"of the prompt holds '<\|end\|>', a token \(256\).*has tokens 0 to 255"),
        ({"prompt": ["a", ""]}, "prompt", "of prompt 1 holds"),
        ({"prompt": [97, 256]}, "prompt", "Token 1 of the prompt is 256, but this model's token ids go from 0 to 255"),
        ({"logit_bias": {"256": 1}}, "logit_bias", "256. Maximum value is 255"),
    ],
)
def test_tokens_that_the_tokenizer_has_and_the_model_lacks(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], param: str, message: str
):
    monkeypatch.setattr(OneModel.tokenizer, "vocab_size", 256)
    service = serve()
    for call in (create, stream):
        with pytest.raises(InvalidRequestError, match=message) as caught:
            call(service, request(**fields))
        assert caught.value.param == param


def test_a_stream_cannot_choose(serve: Serve):
    with pytest.raises(InvalidRequestError, match="Leave out 'best_of' or 'stream'"):
        stream(serve(), request(best_of=2))
    assert len(stream(serve(parrot("hel")), request(n=2, best_of=2))) == 2


def test_an_unknown_model(serve: Serve):
    with pytest.raises(NotFoundError):
        create(serve(), replace(request(), model="nobody"))


def test_a_stream_tells_the_same_as_a_whole_answer(serve: Serve):
    service = serve(parrot("hello 한국어 🙂!"))
    asked = request(["hel", "hello "], n=2, echo=True, logprobs=2, max_tokens=40)
    whole, chunks = create(service, asked), stream(service, asked)
    for choice in whole.choices:
        own = [chunk for chunk in chunks if chunk.index == choice.index]
        assert "".join(chunk.text for chunk in own) == choice.text
        assert [chunk.finish_reason for chunk in own] == [*[None] * (len(own) - 1), choice.finish_reason]
        assert choice.logprobs is not None
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            parts = [part for chunk in own if chunk.logprobs for part in getattr(chunk.logprobs, name)]
            assert parts == getattr(choice.logprobs, name)


def test_a_stream_shows_whole_characters_and_holds_stop_texts_back(serve: Serve):
    chunks = stream(serve(parrot("hel한국\n\n###")), request(stop=("\n\n###",)))
    assert [chunk.text for chunk in chunks] == ["한", "국", ""]
    assert chunks[-1].finish_reason is FinishReason.STOP
    assert all(chunk.logprobs is None for chunk in chunks)


def test_a_stream_counts_tokens(serve: Serve):
    async def usage() -> tuple[int, int]:
        got = await serve(parrot("hello")).stream(request())
        async for _ in got:
            pass
        return got.usage.prompt_tokens, got.usage.completion_tokens

    assert asyncio.run(usage()) == (3, 3)


class Gate:
    """A rule that computes its first token at once, and each later one when the gate is open."""

    def __init__(self) -> None:
        self.calls = 0
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _: tuple[int, ...]) -> dict[int, float]:
        self.calls += 1
        if self.calls > 1:
            self.reached.set()
            assert self.opened.wait(10)
        return {97: 5.0}


def test_leaving_a_stream_stops_the_work(serve: Serve):
    gate = Gate()
    service = serve(gate)

    async def leave() -> None:
        got = await service.stream(request(max_tokens=90))
        async for chunk in got:
            assert chunk.text == "a"
            break
        await got.aclose()
        gate.opened.set()

    asyncio.run(leave())
    assert create(service, request(max_tokens=1)).choices[0].text == "a"
    assert gate.calls <= 3  # two for the one that was left, one for the other


def test_cancelling_the_caller_stops_the_work(serve: Serve):
    gate = Gate()
    service = serve(gate)

    async def cancel() -> None:
        task = asyncio.create_task(service.create(request(max_tokens=90)))
        await asyncio.to_thread(gate.reached.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()

    asyncio.run(cancel())
    assert create(service, request(max_tokens=1)).choices[0].text == "a"
    assert gate.calls <= 3


def test_a_failure_on_the_way_is_told(settings: Settings):
    def fail(_: Path) -> FakeDecoder:
        raise OSError("disk")

    engine = CompletionEngine(settings, fail)
    models: Any = OneModel()
    service = CompletionService(models, engine)
    with pytest.raises(UnavailableError):
        create(service, request())
    engine.start()
    with pytest.raises(LuthierError, match="could not load the model"):
        stream(service, request())
    engine.stop()


def test_weights_that_cannot_be_loaded_are_unavailable(settings: Settings):
    def load(_: Path) -> FakeDecoder:
        raise WeightsError("The weights are damaged.")

    engine = CompletionEngine(settings, load)
    engine.start()
    models: Any = OneModel()
    try:
        with pytest.raises(UnavailableError, match="'ada' cannot answer now: The weights are damaged") as raised:
            create(CompletionService(models, engine), request())
    finally:
        engine.stop()
    assert (raised.value.status, raised.value.code) == (503, "model_not_available")
