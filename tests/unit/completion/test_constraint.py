"""Constraints: what may follow, alone and in the engine beside free neighbours."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from llguidance import LLMatcher

from luthier.completion.constraint import Constraint
from luthier.completion.engine import CompletionEngine
from luthier.completion.fake import FakeDecoder, parrot
from luthier.completion.sequence import Generated, Output, Weights
from luthier.config import Settings
from luthier.domain.generation import FinishReason, SamplingParams
from luthier.errors import InvalidRequestError
from luthier.testing import ByteTokenizer

TOKENIZER = ByteTokenizer()
END = frozenset({256})
WEIGHTS = Weights(Path("ada"))
GREEDY = SamplingParams(max_tokens=20, temperature=0)


def _constraint(grammar: str) -> Constraint:
    return Constraint.compile(grammar, TOKENIZER, END)


def _possible(constraint: Constraint, size: int = 257) -> set[int]:
    row = torch.zeros(size)
    constraint.restrict(row)
    return {token for token in range(size) if row[token] == 0}


def _letters(text: str) -> set[int]:
    return set(text.encode())


def test_what_may_follow_and_where_it_ends() -> None:
    constraint = _constraint(LLMatcher.grammar_from_regex("ab?"))
    assert _possible(constraint) == _letters("a")
    other = constraint.fork()
    constraint.accept(ord("a"))
    assert _possible(constraint) == _letters("b") | END
    assert not constraint.complete
    constraint.accept(ord("b"))
    assert constraint.complete
    assert _possible(other) == _letters("a")


def test_rows_that_no_token_has_stay_impossible() -> None:
    assert _possible(_constraint(LLMatcher.grammar_from_regex("(.|\n)*")), size=300) >= set(range(128)) | END
    assert max(_possible(_constraint(LLMatcher.grammar_from_regex("(.|\n)*")), size=300)) == 256


def test_a_grammar_that_cannot_be_followed() -> None:
    with pytest.raises(InvalidRequestError, match="objekt"):
        _constraint(LLMatcher.grammar_from_json_schema(json.dumps({"type": "objekt"})))
    with pytest.raises(InvalidRequestError):
        _constraint(LLMatcher.grammar_from_lark('start: "a" nobody'))
    with pytest.raises(InvalidRequestError, match="Nothing can follow here"):
        _constraint(LLMatcher.grammar_from_json_schema(json.dumps({"$ref": "#"})))


def test_a_grammar_that_grows_beyond_limits_is_the_requests_fault() -> None:
    many = {"type": "object", "properties": {str(name): {"type": "string"} for name in range(2000)}}
    constraint = _constraint(LLMatcher.grammar_from_json_schema(json.dumps(many)))

    def go_on(text: bytes) -> None:
        for byte in text:
            constraint.accept(byte)

    with pytest.raises(InvalidRequestError, match="too many things"):
        go_on(b'{"1')


class Ears:
    """Gathers what the continuations of some requests become, by request and choice."""

    def __init__(self, expected: int) -> None:
        self.texts: dict[tuple[str, int], str] = {}
        self.last: dict[tuple[str, int], Generated] = {}
        self._expected = expected
        self._over = threading.Event()

    def of(self, name: str) -> Callable[[Output], None]:
        def listen(output: Output) -> None:
            assert isinstance(output, Generated), output
            key = name, output.choice
            self.texts[key] = self.texts.get(key, "") + output.text
            if output.finish_reason is not None:
                self.last[key] = output
            if len(self.last) == self._expected:
                self._over.set()

        return listen

    def wait(self) -> None:
        assert self._over.wait(10), self.texts


@pytest.fixture
def engine(settings: Settings) -> Iterator[CompletionEngine]:
    """Its model wants to say "no! or" whatever is asked."""
    started = CompletionEngine(settings, lambda _: FakeDecoder(parrot("no! or")))
    started.start()
    yield started
    started.stop()


def test_a_constrained_request_beside_a_free_one(engine: CompletionEngine) -> None:
    ears = Ears(3)
    engine.submit(WEIGHTS, [[1]], GREEDY, ears.of("free"))
    constraint = _constraint(LLMatcher.grammar_from_regex("noon|yes"))
    engine.submit(WEIGHTS, [[1]], GREEDY, ears.of("bound"), n=2, constraint=constraint)
    ears.wait()
    assert ears.texts == {("free", 0): "no! or", ("bound", 0): "noon", ("bound", 1): "noon"}
    assert {output.finish_reason for output in ears.last.values()} == {FinishReason.STOP}


def test_stop_ids_end_a_text(engine: CompletionEngine) -> None:
    ears = Ears(1)
    engine.submit(WEIGHTS, [[1]], replace(GREEDY, stop_ids=frozenset(b"!")), ears.of("a"))
    ears.wait()
    assert ears.texts == {("a", 0): "no"}
    assert ears.last["a", 0].finish_reason is FinishReason.STOP
    assert ears.last["a", 0].tokens[-1].token_id == ord("!")
