"""Means of users and products, on made-up tastes."""

import numpy as np
import pandas as pd
import pytest

from luthier.errors import DataError
from luthier.toolkit.frame import Frame
from luthier.toolkit.holdout import hold_out
from luthier.toolkit.profiles import profile_of, profiles


def tastes(rows: int = 600, seed: int = 0) -> Frame:
    """Users like sweet or salty; what they write leans to what they like; stars tell whether the product was that."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 20, rows), rng.integers(0, 20, rows)
    side = np.where(np.arange(20) % 2, 1.0, -1.0)
    match = side[users] * side[items]
    vectors = rng.normal(0, 0.3, (rows, 8)).astype(np.float32)
    vectors[:, 0] += (side[users] + side[items]) / 2
    frame = pd.DataFrame(
        {"UserId": [f"u{user}" for user in users], "ProductId": items, "Score": np.where(match > 0, 5, 1)}
    )
    return Frame(frame, vectors)


def test_alike_users_and_products_have_more_stars() -> None:
    made = profiles(tastes(), "UserId", "ProductId", "Score")
    assert (made.train_rows, made.test_rows) == (480, 120)
    assert made.correlation is not None
    assert made.correlation > 0.7
    low, high = made.by_target()
    assert (low["value"], high["value"]) == (1, 5)
    assert low["median"] < high["median"]


def test_beside_pandas_as_the_guide_does_it() -> None:
    frame = tastes(200)
    made = profiles(frame, "UserId", "ProductId", "Score")
    split = hold_out(200, 0.2, 42)
    rows = frame.rows.assign(vector=list(frame.vectors.astype(np.float64)))
    train, test = rows.loc[split.train], rows.loc[np.sort(split.test)]
    users = train.groupby("UserId").vector.apply(lambda cells: np.mean(np.stack(list(cells)), axis=0))
    items = train.groupby("ProductId").vector.apply(lambda cells: np.mean(np.stack(list(cells)), axis=0))
    known = test[test.UserId.isin(users.index) & test.ProductId.isin(items.index)]
    cosine = pd.Series(
        [
            float(users[user] @ items[item] / np.linalg.norm(users[user]) / np.linalg.norm(items[item]))
            for user, item in zip(known.UserId, known.ProductId, strict=True)
        ]
    )
    assert made.rows.tolist() == known.index.tolist()
    np.testing.assert_allclose(made.similarity, cosine, atol=1e-6)
    np.testing.assert_allclose(made.percentile, cosine.rank(pct=True))
    expected = np.corrcoef(cosine.rank(pct=True), known.Score)[0, 1]
    assert made.correlation == pytest.approx(expected)


def test_the_test_rows_stars_change_no_profile() -> None:
    frame = tastes(200)
    shuffled = frame.rows.assign(Score=np.random.default_rng(5).permutation(frame.rows.Score))
    a = profiles(frame, "UserId", "ProductId", "Score")
    b = profiles(Frame(shuffled, frame.vectors), "UserId", "ProductId", "Score")
    assert a.percentile.tobytes() == b.percentile.tobytes()
    assert a.users.vectors.tobytes() == b.users.vectors.tobytes()
    assert b.correlation is not None
    assert abs(b.correlation) < 0.4


def test_rows_without_both_profiles_do_not_count() -> None:
    frame = tastes(100)
    lonely = frame.rows.assign(UserId=[f"u{row}" for row in range(100)])
    made = profiles(Frame(lonely, frame.vectors), "UserId", "ProductId", "Score")
    assert (len(made.rows), made.correlation, made.by_target()) == (0, None, [])
    assert made.as_dict()["pairs"] == 0


def test_constant_stars_have_no_correlation() -> None:
    frame = tastes(200)
    made = profiles(Frame(frame.rows.assign(Score=5), frame.vectors), "UserId", "ProductId", "Score")
    assert made.correlation is None


def test_profiles_of_all_rows() -> None:
    frame = Frame(pd.DataFrame({"who": ["b", "a", "b"]}), np.array([[1, 0], [5, 5], [3, 2]], dtype=np.float32))
    made = profile_of(frame, "who")
    assert made.names == ("a", "b")
    assert made.vectors.tolist() == [[5, 5], [2, 1]]
    assert made.rows.tolist() == [1, 2]


def test_columns_that_do_not_do() -> None:
    frame = tastes(100)
    with pytest.raises(DataError, match="no column 'Who'"):
        profiles(frame, "Who", "ProductId", "Score")
    with pytest.raises(DataError, match="'UserId', which must hold a number"):
        profiles(frame, "ProductId", "ProductId", "UserId")
    holes = frame.rows.assign(UserId=[None, *frame.rows.UserId[1:]])
    with pytest.raises(DataError, match="'UserId' is empty in row 1"):
        profiles(Frame(holes, frame.vectors), "UserId", "ProductId", "Score")
    with pytest.raises(DataError, match="1 row"):
        profiles(Frame(frame.rows[:1], frame.vectors[:1]), "UserId", "ProductId", "Score")
