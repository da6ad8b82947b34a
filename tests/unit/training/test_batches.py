"""Order, micro-batches and packing."""

from hypothesis import given
from hypothesis import strategies as st
from training_helpers import example

from luthier.training.batches import batches_of, epoch_order, in_lanes, loss_weights, micro_batches, pack, step_seed


def test_each_epoch_takes_every_example_once_in_an_order_of_its_own() -> None:
    first, second = epoch_order(50, seed=1, epoch=0), epoch_order(50, seed=1, epoch=1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == epoch_order(50, seed=1, epoch=0)
    assert first != epoch_order(50, seed=2, epoch=0)


def test_each_step_has_a_seed_of_its_own() -> None:
    assert len({step_seed(seed, step) for seed in range(5) for step in range(100)}) == 500


@given(lengths=st.lists(st.integers(1, 300), min_size=1), budget=st.integers(1, 500))
def test_micro_batches_hold_every_example_once_within_the_budget(lengths: list[int], budget: int) -> None:
    parts = micro_batches(lengths, budget)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in part) <= budget or len(part) == 1 for part in parts)


def test_like_lengths_go_together() -> None:
    assert micro_batches([5, 90, 6, 100], budget=110) == [[3], [1, 2, 0]]


@given(lengths=st.lists(st.integers(1, 300), min_size=1), budget=st.integers(4, 500), lanes=st.integers(1, 4))
def test_lanes_hold_every_example_once_within_their_share(lengths: list[int], budget: int, lanes: int) -> None:
    alone, shares = in_lanes(lengths, budget, lanes)
    assert sorted(i for part in [*alone, *(part for lane in shares for part in lane)] for i in part) == list(
        range(len(lengths))
    )
    assert all(sum(lengths[i] for i in part) <= budget or len(part) == 1 for part in alone)
    assert all(sum(lengths[i] for i in part) <= budget // lanes for lane in shares for part in lane)
    assert len(shares) <= lanes
    assert lanes > 1 or not shares


def test_lanes_have_like_shares_and_leave_alone_what_would_have_nothing_beside_it() -> None:
    assert in_lanes([30, 10, 20, 40], 200, 2) == ([], [[[3, 1]], [[0, 2]]])
    assert in_lanes([30, 10, 20, 40], 100, 2) == ([], [[[3, 1]], [[0, 2]]])
    assert in_lanes([30, 10, 20, 60], 100, 2) == ([[3]], [[[0]], [[2, 1]]])  # too long for a lane
    assert in_lanes([90, 10, 10], 200, 2) == ([[0]], [[[1]], [[2]]])
    assert in_lanes([90], 200, 2) == ([[0]], [])


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    assert list(batches_of([4, 2, 0, 1, 3], 2)) == [[4, 2], [0, 1], [3]]


def test_the_first_token_has_no_weight_at_all() -> None:
    assert loss_weights(example("abc", "de"), 0.1) == [0.1, 0.1, 1.0, 1.0]


def test_packing_leaves_last_tokens_out_and_predicts_each_next_one() -> None:
    batch = pack([example("abc", "de"), example("f", "g")], 0.5)
    assert bytes(batch.input_ids[0].tolist()) == b"abcdf"
    assert batch.lengths == [4, 1]
    assert batch.positions.tolist() == [0, 1, 2, 3, 4]
    assert bytes(batch.targets.tolist()) == b"bcdeg"
    assert batch.weights.tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]
    assert batch.completion.tolist() == [False, False, True, True, True]
    assert batch.counts == [4, 1]


def test_without_a_prompt_weight_only_completions_are_predicted() -> None:
    batch = pack([example("abc", "de"), example("f", "g")], 0.0)
    assert batch.positions.tolist() == [2, 3, 4]
    assert bytes(batch.targets.tolist()) == b"deg"
    assert batch.counts == [2, 1]
