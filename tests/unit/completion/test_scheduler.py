"""The scheduler's policy, without a model."""

from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.completion.scheduler import Scheduler, Step
from luthier.completion.sequence import Request, Sequence, Weights, sequences
from luthier.domain.generation import SamplingParams
from luthier.testing import ByteTokenizer

BUDGET = 10
ADA, BABBAGE = Weights(Path("ada")), Weights(Path("babbage"))


def make(*lengths: int, weights: Weights = ADA, n: int = 1, max_tokens: int = 5) -> list[Sequence]:
    request = Request(weights, tuple((7,) * n for n in lengths), SamplingParams(max_tokens), lambda _: None, n)
    return sequences(request, ByteTokenizer(), BUDGET)


def scheduler(*waiting: Sequence, cache: int = 1000) -> Scheduler:
    made = Scheduler(max_batch_tokens=BUDGET, cache_tokens=cache)
    for sequence in waiting:
        made.add(sequence)
    return made


def advance(made: Scheduler) -> list[tuple[Sequence, int, int]]:
    """One step, after which each sequence that ended its piece has one more token."""
    step = made.next_step()
    assert step is not None
    for piece in step.pieces:
        if piece.is_last:
            piece.sequence.tokens.append(1)
    return [(piece.sequence, piece.start, piece.stop) for piece in step.pieces]


def test_nothing_to_do():
    assert scheduler().next_step() is None


def test_prompts_fill_a_step_whole_and_in_order():
    a, b, c, d = make(4, 7, 5, 1)
    made = scheduler(a, b, c, d)
    assert advance(made) == [(a, 0, 4), (c, 0, 5), (d, 0, 1)]  # b fits an empty step, so it is not cut
    assert advance(made) == [(a, 4, 5), (b, 0, 7), (c, 5, 6), (d, 1, 2)]


def test_a_long_prompt_goes_in_chunks_while_others_generate():
    (short,), (long,) = make(3), make(25)
    made = scheduler(short, long)
    assert advance(made) == [(short, 0, 3), (long, 0, 7)]
    assert advance(made) == [(short, 3, 4), (long, 7, 17)]
    assert advance(made) == [(short, 4, 5), (long, 17, 25)]
    assert advance(made) == [(short, 5, 6), (long, 25, 26)]


def test_a_long_prompt_does_not_keep_a_later_short_one_waiting_for_ever():
    (long,), (short,) = make(25), make(3)
    made = scheduler(long, short)
    assert [len(advance(made)) for _ in range(3)] == [1, 1, 2]


def test_cache_is_promised_and_given_back():
    first, second = make(6, 6)  # 6 + 4 tokens each: the fifth generated is never fed back
    assert (first.reserved, second.reserved) == (10, 10)
    made = scheduler(first, second, cache=15)
    assert advance(made) == [(first, 0, 6)]
    assert advance(made) == [(first, 6, 7)]
    assert made.finish(first) is None
    assert made.free_tokens == 15
    assert advance(made) == [(second, 0, 6)]


def test_a_large_sequence_is_not_overtaken_by_small_ones_for_ever():
    small, large, later = make(2)[0], make(9)[0], make(2)[0]
    made = scheduler(small, large, later, cache=14)
    assert advance(made) == [(small, 0, 2)]
    made.finish(small)
    assert advance(made) == [(large, 0, 9)]


@pytest.mark.parametrize(
    ("max_tokens", "n", "length", "reserved"), [(1, 1, 10, 0), (0, 1, 10, 0), (1, 1, 11, 11), (1, 2, 4, 4)]
)
def test_one_pass_needs_no_cache(max_tokens: int, n: int, length: int, reserved: int):
    assert make(length, max_tokens=max_tokens, n=n)[0].reserved == reserved


def test_siblings_wait_for_the_prompt_and_copy_it():
    first, second, third = make(4, n=3)
    (other,) = make(2)
    made = scheduler(first, second, third, other)
    assert advance(made) == [(first, 0, 4), (other, 0, 2)]
    step = made.next_step()
    assert step is not None
    pieces = {piece.sequence: piece for piece in step.pieces}
    for sibling in (second, third):
        assert (pieces[sibling].start, pieces[sibling].stop, pieces[sibling].source) == (3, 4, first)
    assert pieces[first].source is None


def test_a_sibling_for_which_there_was_no_room_takes_over_the_cache_with_the_prompt():
    first, second, third = make(4, n=3)
    made = scheduler(first, second, third, cache=8)
    advance(made)
    assert made.finish(first) is second
    assert made.free_tokens == 0
    assert advance(made) == [(second, 3, 4)]
    assert made.finish(second) is third
    assert advance(made) == [(third, 3, 4)]
    assert made.finish(third) is None
    assert made.free_tokens == 8
    assert made.next_step() is None


def test_a_sibling_copies_from_one_that_still_runs():
    first, second, third = make(4, n=3)
    made = scheduler(first, second, third, cache=16)
    advance(made)
    assert advance(made) == [(first, 4, 5), (second, 3, 4)]
    assert made.finish(first) is None  # second has the prompt too
    step = made.next_step()
    assert step is not None
    assert [(piece.sequence, piece.start, piece.source) for piece in step.pieces] == [
        (second, 4, None),
        (third, 3, second),
    ]


def test_siblings_come_before_what_waits_behind_them():
    first, second = make(4, n=2)
    late = make(8)
    made = scheduler(first, second, *late, cache=16)
    advance(made)
    assert [sequence for sequence, _, _ in advance(made)] == [first, second]


def test_bases_take_turns_and_adapters_stand_together():
    tuned = Weights(Path("ada"), Path("tuned"))
    one, two, three = make(2, weights=tuned)[0], make(2, weights=ADA)[0], make(2, weights=tuned)[0]
    other = make(2, weights=BABBAGE)[0]
    made = scheduler(one, two, three, other)

    def bases(step: Step | None) -> tuple[str, list[Sequence]]:
        assert step is not None
        for piece in step.pieces:
            piece.sequence.tokens.append(1)
        return step.base.name, [piece.sequence for piece in step.pieces]

    assert bases(made.next_step()) == ("ada", [two, one, three])
    assert bases(made.next_step()) == ("babbage", [other])
    assert bases(made.next_step())[0] == "ada"
    made.finish(other)
    assert bases(made.next_step())[0] == "ada"


def test_dropping_a_request_takes_all_of_it_out_and_its_cache_back():
    dropped = make(4, 4, 4, n=2)
    (other,) = make(6)
    made = scheduler(*dropped, other, cache=20)
    advance(made)
    made.drop(dropped)
    assert made.free_tokens == 20
    assert advance(made) == [(other, 0, 6)]


def test_dropping_a_huge_request_takes_time_in_proportion_to_it():
    comparisons = 0

    class Counted(Sequence):
        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return self is other

        __hash__ = object.__hash__

    huge = make(*[1] * 2000, n=2, max_tokens=5)
    for sequence in huge:
        sequence.__class__ = Counted
    made = scheduler(*huge, cache=1000)
    made.next_step()
    made.drop(huge)
    assert made.next_step() is None
    assert comparisons < 2 * len(huge)


def background(*lengths: int, weights: Weights = ADA, n: int = 1, max_tokens: int = 5) -> list[Sequence]:
    made = make(*lengths, weights=weights, n=n, max_tokens=max_tokens)
    for sequence in made:
        sequence.request.background = True
    return made


def test_the_background_is_admitted_and_read_after_others():
    late, (a, b) = background(3, 3), make(4, 4)
    made = scheduler(*late, a, b)
    assert advance(made) == [(a, 0, 4), (b, 0, 4)]
    assert advance(made) == [(a, 4, 5), (b, 4, 5), (late[0], 0, 3)]  # one prompt a step beside others
    assert advance(made) == [(a, 5, 6), (b, 5, 6), (late[1], 0, 3), (late[0], 3, 4)]


def test_the_background_alone_has_the_whole_step():
    late = background(3, 3, 3)
    made = scheduler(*late)
    assert advance(made) == [(sequence, 0, 3) for sequence in late]
    assert advance(made) == [(sequence, 3, 4) for sequence in late]


def test_few_of_the_background_generate_beside_others():
    late, (a,) = background(*[1] * 30), make(4)
    made = scheduler(*late)
    for _ in range(3):
        advance(made)
    made.add(a)
    steps = [advance(made) for _ in range(3)]
    assert all(step[0][0] is a and len(step) <= 9 for step in steps)


def test_the_background_leaves_cache_free():
    late, (a,) = background(8, 8, max_tokens=3), make(8, max_tokens=3)  # 10 tokens of cache each
    made = scheduler(*late, cache=24)
    advance(made)
    assert list(made.running) == late[:1]  # the second would leave less than a quarter
    made.add(a)
    assert advance(made)[0] == (a, 0, 8)


def test_a_large_one_of_the_background_has_the_cache_when_nothing_runs():
    (large,) = background(22)
    made = scheduler(large, cache=26)
    advance(made)
    assert list(made.running) == [large]


def run_out(made: Scheduler, *arriving: list[Sequence]) -> None:
    """Step until all have their tokens, some fewer than they may have; one more request arrives before each step.

    Every step gets on with something, and copies only what is still kept.
    """
    arrivals, unfinished, kept = deque(arriving), set[Sequence](), set[Sequence]()
    while arrivals or unfinished:
        if arrivals:
            new = arrivals.popleft()
            unfinished.update(new)
            for sequence in new:
                made.add(sequence)
        step = made.next_step()
        assert step is not None or not unfinished
        pieces = step.pieces if step else []
        for piece in pieces:
            assert not piece.start or (piece.source or piece.sequence) in kept
        kept.update(piece.sequence for piece in pieces)
        for sequence in [piece.sequence for piece in pieces if piece.is_last]:
            sequence.tokens.append(1)
            missing = (sequence.prompt + sequence.choice) % sequence.params.max_tokens
            if sequence.n_generated + missing == sequence.params.max_tokens:
                unfinished.remove(sequence)
                kept.remove(sequence)
                if heir := made.finish(sequence):
                    kept.add(heir)
    assert made.next_step() is None


@pytest.mark.parametrize("late", [{"n": 3, "max_tokens": 1}, {"n": 2, "max_tokens": 3}])
def test_siblings_of_the_background_copy_the_prompt_before_it_is_gone(late: dict[str, int]):
    run_out(scheduler(), make(2, max_tokens=30), background(3, 3, 3, **late))


def test_the_background_of_every_base_gets_on_beside_others():
    late = [background(3, weights=Weights(Path("curie"))) for _ in range(3)]
    run_out(scheduler(), make(2, max_tokens=8), *late, background(3, weights=BABBAGE))


@given(
    cache=st.integers(30, 200),
    requests=st.lists(
        st.tuples(
            st.sampled_from([make, background]),
            st.lists(st.integers(1, 25), max_size=4),
            st.sampled_from([ADA, BABBAGE, Weights(Path("curie"))]),
            st.integers(1, 4),
            st.integers(1, 6),
        )
    ),
)
def test_any_mix_of_requests_gets_all_its_tokens(cache: int, requests: list[tuple]):
    arriving = [
        request(*lengths, weights=weights, n=n, max_tokens=max_tokens)
        for request, lengths, weights, n, max_tokens in requests
    ]
    run_out(scheduler(cache=cache), *arriving)
