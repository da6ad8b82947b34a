"""Choosing tokens: greedy, nucleus, bias, penalties, seeds; and the log probabilities reported."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from luthier.completion.logprobs import describe
from luthier.completion.sampler import adjust, draw, sample
from luthier.completion.sequence import Request, Sequence, Weights, sequences
from luthier.domain.generation import SamplingParams
from luthier.testing import ByteTokenizer

LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0])


def running(params: SamplingParams, generated: tuple[int, ...] = ()) -> Sequence:
    (sequence,) = sequences(Request(Weights(Path("b")), ((0,),), params, lambda _: None), ByteTokenizer(), 10)
    sequence.counts.update(generated)
    return sequence


def test_temperature_zero_takes_the_likeliest():
    assert sample(LOGITS[None], [running(SamplingParams(temperature=0))]) == [1]


def test_rows_are_left_as_they_were():
    row = LOGITS.clone()[None]
    assert sample(row, [running(SamplingParams(temperature=0, logit_bias={1: -100}))]) == [2]
    assert torch.equal(row[0], LOGITS)


def test_penalties_follow_the_formula():
    row = LOGITS.clone()
    adjust(row, SamplingParams(presence_penalty=0.5, frequency_penalty=0.25, logit_bias={0: 3}), Counter({1: 2, 3: 1}))
    expected = torch.tensor([0 + 3.0, 2 - 2 * 0.25 - 0.5, 1.0, -1 - 0.25 - 0.5])
    torch.testing.assert_close(row, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("field", "chosen"), [("presence_penalty", 2), ("frequency_penalty", 2)])
def test_a_penalty_turns_the_choice(field: str, chosen: int):
    params = SamplingParams(temperature=0, **{field: 1.5})
    assert sample(LOGITS[None], [running(params, (1,))]) == [chosen]
    assert sample(LOGITS[None], [running(params)]) == [1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float):
    params, generator, n = SamplingParams(temperature=temperature), random.Random(0), 4000
    counts = Counter(draw(LOGITS, params, generator) for _ in range(n))
    for token, probability in enumerate((LOGITS / temperature).softmax(0).tolist()):
        assert abs(counts[token] / n - probability) < 4 * math.sqrt(probability * (1 - probability) / n)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    probabilities = LOGITS.softmax(0)  # 0.087, 0.644, 0.237, 0.032
    generator = random.Random(0)

    def drawn(top_p: float) -> set[int]:
        return {draw(LOGITS, SamplingParams(top_p=top_p), generator) for _ in range(300)}

    assert drawn(0.0) == {1}
    assert drawn(float(probabilities[1]) - 0.01) == {1}
    assert drawn(float(probabilities[1]) + 0.01) == {1, 2}
    assert drawn(0.95) == {0, 1, 2}
    assert drawn(1.0) == {0, 1, 2, 3}


def test_a_nucleus_larger_than_the_first_guess():
    flat, generator = torch.zeros(5000), random.Random(0)
    drawn = {draw(flat, SamplingParams(top_p=0.9), generator) for _ in range(3000)}
    assert 1500 < len(drawn) <= 4501


def test_a_tiny_temperature_is_greedy_and_no_error():
    for temperature in (1e-5, 1e-7, 1e-46, 1e-320):
        assert sample(LOGITS[None], [running(SamplingParams(temperature=temperature, top_p=0.5))]) == [1]


def test_a_seed_decides_whatever_else_is_batched():
    params = SamplingParams(seed=3)
    noise = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    alone, together = running(params), running(params)
    others = [running(SamplingParams(top_p=0.5)) for _ in range(5)]
    for _ in range(20):
        (one,) = sample(noise[:1], [alone])
        assert sample(noise, [together, *others])[0] == one


def test_logprobs_are_the_log_softmax_in_float32():
    logits = 5 * torch.randn(3, 100, generator=torch.Generator().manual_seed(1))
    exact = logits.double().log_softmax(-1)
    for row, token in enumerate(describe(logits, [5, 6, 7], 5)):
        assert token.logprob == pytest.approx(exact[row, token.token_id].item(), abs=1e-5)
        values, ids = exact[row].topk(5)
        assert [id_ for id_, _ in token.top[:5]] == ids.tolist()
        assert [value for _, value in token.top[:5]] == pytest.approx(values.tolist(), abs=1e-5)


def test_the_chosen_token_is_always_among_the_top_with_its_value():
    (likely,) = describe(LOGITS[None], [1], 2)
    assert [id_ for id_, _ in likely.top] == [1, 2]
    (unlikely,) = describe(LOGITS[None], [3], 2)
    assert [id_ for id_, _ in unlikely.top] == [1, 2, 3]
    for token in (likely, unlikely):
        assert dict(token.top)[token.token_id] == token.logprob
    (alone,) = describe(LOGITS[None], [3], 0)
    assert alone.top == ((3, alone.logprob),)
