"""Who goes next: equal shares of a batch, whatever the sizes of the requests."""

from luthier.embedding.pool import Pool


def piece(tokens: int) -> list[int]:
    return [0] * tokens


def pool(**requests: list[int]) -> Pool[str, list[int]]:
    made: Pool[str, list[int]] = Pool()
    for name, lengths in requests.items():
        made.add(name, "one encoder", [piece(length) for length in lengths])
    return made


def taken(made: Pool[str, list[int]], budget: int) -> dict[str, list[int]]:
    batch: dict[str, list[int]] = {}
    for name, item in made.take(budget):
        batch.setdefault(name, []).append(len(item))
    return batch


def test_an_empty_pool_gives_nothing() -> None:
    assert taken(pool(), 10) == {}


def test_a_batch_keeps_within_its_budget() -> None:
    made = pool(a=[4, 4, 4])
    assert taken(made, 9) == {"a": [4, 4]}
    assert len(made) == made.tokens("a") == 4
    assert taken(made, 9) == {"a": [4]}
    assert len(made) == made.tokens("a") == 0


def test_a_piece_larger_than_the_budget_goes_alone() -> None:
    made = pool(a=[20, 1])
    assert taken(made, 10) == {"a": [20]}
    assert taken(made, 10) == {"a": [1]}


def test_a_huge_request_does_not_hold_up_small_ones() -> None:
    made = pool(huge=[10] * 1000, small=[5], other=[5, 5])
    first = taken(made, 100)
    assert first["small"] == [5]
    assert first["other"] == [5, 5]
    assert first["huge"] == [10] * 8


def test_what_some_do_not_need_goes_to_the_others() -> None:
    assert taken(pool(a=[5], b=[30, 30, 30]), 100) == {"a": [5], "b": [30, 30, 30]}


def test_shares_smaller_than_the_pieces_go_round() -> None:
    made = pool(**{name: [40, 40] for name in "abcd"})
    assert [sorted(taken(made, 100)) for _ in range(4)] == [["a", "b"], ["c", "d"], ["a", "b"], ["c", "d"]]


def test_encoders_take_turns() -> None:
    made: Pool[str, list[int]] = Pool()
    made.add("a", "one encoder", [piece(10), piece(10)])
    made.add("b", "another", [piece(10)])
    assert [taken(made, 10) for _ in range(3)] == [{"a": [10]}, {"b": [10]}, {"a": [10]}]


def test_the_background_gets_what_the_rest_leaves() -> None:
    made: Pool[str, list[int]] = Pool()
    made.add("batch", "one encoder", [piece(10) for _ in range(9)], background=True)
    made.add("caller", "one encoder", [piece(10) for _ in range(6)])
    assert [taken(made, 40) for _ in range(3)] == [
        {"caller": [10] * 4},
        {"caller": [10] * 2, "batch": [10] * 2},
        {"batch": [10] * 4},
    ]


def test_a_dropped_request_is_forgotten() -> None:
    made = pool(a=[1], b=[1])
    made.drop("a")
    made.drop("nobody")
    assert taken(made, 10) == {"b": [1]}
