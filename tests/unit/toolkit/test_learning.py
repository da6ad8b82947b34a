"""Classification and regression on made-up vectors whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.calibration import calibrate
from luthier.toolkit.candidates import METHODS, candidates
from luthier.toolkit.classify import classify, labels_of
from luthier.toolkit.cross_validation import fold_of, subsample
from luthier.toolkit.frame import Frame
from luthier.toolkit.holdout import distinct_classes, hold_out
from luthier.toolkit.predictor import load, of_levels
from luthier.toolkit.regress import errors, regress
from luthier.toolkit.scores import reliability

_FAST = ("linear", "neighbours")


def stars_frame(rows: int = 200, seed: int = 0, permuted: bool = False) -> Frame:
    """Vectors along a line by their stars, with noise: a class is nearly readable, never quite."""
    rng = np.random.default_rng(seed)
    stars = rng.choice([1, 2, 5], rows, p=[0.25, 0.25, 0.5])
    vectors = rng.normal(0, 1, (rows, 12)).astype(np.float32)
    vectors[:, 0] += 3 * stars
    told = rng.permutation(stars) if permuted else stars
    return Frame(pd.DataFrame({"Score": told, "Name": [f"s{star}" for star in told]}), vectors, "m")


def test_the_split_is_the_guides() -> None:
    train, test = train_test_split(np.arange(1000), test_size=0.2, random_state=42)
    parts = hold_out(1000, 0.2, 42)
    assert parts.train.tolist() == train.tolist()
    assert parts.test.tolist() == test.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_classifies(method: str) -> None:
    learned = classify(stars_frame(), "Score", methods=[method])
    assert learned.method.startswith(method)
    assert learned.accuracy >= 0.85
    assert learned.majority == pytest.approx(0.5, abs=0.15)
    assert learned.classes == ("1", "2", "5")
    assert learned.confusion.sum() == learned.test_rows == 40
    assert np.trace(learned.confusion) / 40 == pytest.approx(learned.accuracy)
    np.testing.assert_allclose(learned.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_regresses(method: str) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(200, 6)).astype(np.float32)
    frame = Frame(pd.DataFrame({"y": vectors[:, 0] * 10 + 100}), vectors)
    learned = regress(frame, "y", methods=[method])
    assert learned.test.mae < learned.dummy.mae * 0.75
    assert learned.test.r2 > 0.4


def test_numbers_of_few_values_take_the_median_of_their_levels() -> None:
    learned = regress(stars_frame(), "Score", methods=["linear"])
    assert learned.method.startswith("median of levels")
    assert set(learned.predicted) <= {1.0, 2.0, 5.0}
    squared = regress(stars_frame(), "Score", methods=["linear"], metric="mse")
    assert squared.test.mse <= learned.test.mse + 0.1
    assert {trial.method for trial in learned.trials} == {"linear", "median of levels, linear"}


def test_median_and_mean_of_levels() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    levels = np.array([1.0, 2.0, 5.0])
    assert of_levels(shares, levels, "mae").tolist() == [1, 5]
    assert of_levels(shares, levels, "mse") == pytest.approx([2.1, 4.0])


def test_accuracy_falls_to_chance_when_the_target_is_permuted() -> None:
    truth = classify(stars_frame(400), "Score", methods=_FAST)
    chance = classify(stars_frame(400, permuted=True), "Score", methods=_FAST)
    assert truth.accuracy > 0.9
    assert chance.accuracy <= chance.majority + 0.1
    error = regress(stars_frame(400, permuted=True), "Score", methods=_FAST)
    assert error.test.mae >= error.dummy.mae * 0.85
    assert regress(stars_frame(400), "Score", methods=_FAST).test.mae < error.dummy.mae * 0.3


def test_what_is_chosen_does_not_depend_on_the_test_rows() -> None:
    frame = stars_frame(100)
    test = hold_out(100, 0.2, 42).test
    other = frame.rows.copy()
    other.loc[test, "Score"] = frame.rows.Score.to_numpy()[test][::-1]
    a = classify(frame, "Score", methods=_FAST)
    b = classify(Frame(other, frame.vectors), "Score", methods=_FAST)
    assert a.method == b.method
    assert a.probabilities.tobytes() == b.probabilities.tobytes()
    assert [trial.loss for trial in a.trials] == [trial.loss for trial in b.trials]


def test_forests_score_as_scikit_learns() -> None:
    frame = stars_frame()
    x, y = frame.vectors.astype(np.float64), np.searchsorted([1, 2, 5], frame.rows.Score)
    (ours,) = candidates(["forest"], classes=True, rows=len(x))
    theirs = RandomForestClassifier(100, random_state=42).fit(x[:150], y[:150])
    scores = ours.fit(x[:150], np.eye(3)[y[:150]]).scores(x[150:])
    np.testing.assert_allclose(scores, theirs.predict_proba(x[150:]), atol=1e-12)


def test_boosting_scores_as_scikit_learns() -> None:
    frame = stars_frame()
    x, y = frame.vectors.astype(np.float64), frame.rows.Score.to_numpy(dtype=float)
    (ours,) = candidates(["boosting"], classes=False, rows=len(x))
    theirs = GradientBoostingRegressor(n_estimators=100, max_features="sqrt", subsample=0.5, random_state=42).fit(
        x[:150], y[:150]
    )
    scores = ours.fit(x[:150], y[:150, None]).scores(x[150:])
    np.testing.assert_allclose(scores[:, 0], theirs.predict(x[150:]), atol=1e-9)


def test_kernels_score_as_scikit_learns() -> None:
    frame = stars_frame()
    x, is_five = frame.vectors.astype(np.float64), (frame.rows.Score == 5).to_numpy()
    ours = next(one for one in candidates(["kernel"], classes=True, rows=len(x)) if "gamma 1/" in one.settings)
    machine = ours.fit(x[:150], np.stack([~is_five, is_five], axis=1)[:150].astype(float))
    gamma = 1 / x[:150].var(axis=0).sum()
    theirs = SVC(C=2.0, gamma=gamma).fit(x[:150], is_five[:150])
    np.testing.assert_allclose(machine.scores(x[150:])[:, 1], theirs.decision_function(x[150:]), atol=2e-3)


def test_folds_are_stratified() -> None:
    targets = np.eye(2)[np.array([0] * 90 + [1] * 10)]
    fold = fold_of(targets, seed=3)
    assert [int(targets[fold == number, 1].sum()) for number in range(5)] == [2] * 5
    assert fold.tolist() != fold_of(targets, seed=4).tolist()


def test_calibration_repairs_overconfident_scores() -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0.05, 0.95, 4000)
    truth = (rng.uniform(size=4000) < share).astype(int)
    logit = np.log(share / (1 - share))
    scores = np.stack([-3 * logit, 3 * logit], axis=1)  # six times too sure of itself
    made = calibrate(scores[:2000], truth[:2000]).probabilities(scores[2000:])[:, 1]
    assert np.abs(made - share[2000:]).mean() < 0.03


def test_reliability_in_bins() -> None:
    seen = reliability([True, False, True, True], np.array([0.55, 0.55, 1.0, 0.95]))
    assert seen.rows.tolist() == [2, 2]
    assert seen.accuracy.tolist() == [0.5, 1.0]
    assert seen.error == pytest.approx((2 * 0.05 + 2 * 0.025) / 4)


def test_errors_beside_numbers_by_hand() -> None:
    found = errors(np.array([1.0, 3.0]), np.array([2.0, 3.0]))
    assert (found.mae, found.mse, found.r2) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_predictor_says_the_same(method: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = stars_frame(80)
    learned = classify(frame, "Name", methods=[method])
    learned.predictor.noted(model="m", text=None).save(tmp_path / "deep" / "p.safetensors")
    again = load(tmp_path / "deep" / "p.safetensors")
    assert again.classes == ("s1", "s2", "s5")
    assert again.notes == {"model": "m"}
    assert again.probabilities(frame.vectors).tobytes() == learned.predictor.probabilities(frame.vectors).tobytes()
    number = regress(frame, "Score", methods=[method]).predictor
    number.save(tmp_path / "n.safetensors")
    assert (
        load(tmp_path / "n.safetensors").estimate(frame.vectors).tobytes() == number.estimate(frame.vectors).tobytes()
    )


def test_files_that_are_no_predictor_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.numpy import save_file

    with pytest.raises(DataError, match="no file"):
        load(tmp_path / "nothing.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="no predictor"):
        load(tmp_path / "pickle.safetensors")
    save_file({"x": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="no predictor"):
        load(tmp_path / "other.safetensors")
    save_file(
        {"x": np.zeros(2)},
        tmp_path / "damaged.safetensors",
        metadata={"format": "luthier predictor 1", "predictor": "{}"},
    )
    with pytest.raises(DataError, match="damaged"):
        load(tmp_path / "damaged.safetensors")


def test_vectors_of_another_width_are_refused() -> None:
    learned = classify(stars_frame(60), "Name", methods=["linear"])
    with pytest.raises(DataError, match="7 dimensions"):
        learned.predictor.classify(np.zeros((1, 7), np.float32))
    assert learned.predictor.classify(stars_frame(60).vectors[:0]) == []


def _column(cells: list[object]) -> Frame:
    rng = np.random.default_rng(0)
    return Frame(
        pd.DataFrame({"t": pd.Series(cells, dtype=object)}), rng.normal(size=(len(cells), 4)).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["a"], "1 row"),
        (["a", "b"] * 3, "at least 10 rows"),
        (["a"] * 30, "nothing to tell apart"),
        (["a", None] * 15, "empty in row 2"),
        (["a", float("nan")] * 15, "empty in row 2"),
        (["a", "b", 3] * 10, "mixes texts and numbers"),
        ([["a"], ["b"]] * 10, "holds a list"),
        ([str(number) for number in range(40)], "too few rows for each class"),
        (["b"] + ["a"] * 39, "fell into the test rows|at least|same"),
    ],
)
def test_targets_that_cannot_be_classified(cells: list[object], says: str) -> None:
    if len(cells) == 40 and cells[1] == "a":  # the one other row must be held out
        cells = ["a"] * 40
        cells[hold_out(40, 0.2, 42).test[0]] = "b"
    with pytest.raises(DataError, match=says):
        classify(_column(cells), "t")


@pytest.mark.parametrize(
    ("cells", "says"),
    [([1.0], "1 row"), ([2] * 30, "same"), (["x"] * 30, "'t'"), ([1.0, None] * 15, "empty"), ([1, "x"] * 15, "'x'")],
)
def test_targets_that_cannot_be_regressed(cells: list[object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        regress(_column(cells), "t")


def test_settings_that_make_no_sense() -> None:
    frame = stars_frame(60)
    with pytest.raises(DataError, match="no column 'Stars'"):
        classify(frame, "Stars")
    with pytest.raises(InvalidRequestError, match="Did you mean 'forest'"):
        classify(frame, "Score", methods=["forrest"])
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(InvalidRequestError, match="between 0 and 1"):
            regress(frame, "Score", test_size=share)


def test_whole_numbers_and_texts_are_class_names() -> None:
    assert labels_of(_column([5.0, 4, True]), "t") == ["5", "4", "True"]


@pytest.mark.parametrize("method", METHODS)
def test_one_row_of_a_class_and_one_odd_number_are_learned_from(method: str) -> None:
    train = hold_out(40, 0.2, 42).train
    rows = pd.DataFrame({"class": ["a"] * 40, "number": [1.0] * 40})
    rows.loc[train[0], ["class", "number"]] = ["b", 2.0]
    rows.loc[train[1], "number"] += 1e-5  # no support vector is needed for it
    frame = Frame(rows, np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    learned = classify(frame, "class", methods=[method])
    assert learned.accuracy == 1  # the test rows are all `a`
    assert regress(frame, "number", methods=[method]).test.mae < 0.2


def test_rare_classes_leave_nobody_warned(recwarn: pytest.WarningsRecorder) -> None:
    rng = np.random.default_rng(0)
    stars = rng.choice(5, 80, p=[0.9, 0.04, 0.03, 0.02, 0.01])
    vectors = rng.normal(size=(80, 8)).astype(np.float32)
    vectors[:, 0] += stars
    classify(Frame(pd.DataFrame({"Score": stars}), vectors), "Score", methods=["linear"])
    assert [str(one.message) for one in recwarn] == []


def test_classes_that_the_rows_of_the_choice_lack_are_still_predicted() -> None:
    train = hold_out(4000, 0.2, 42).train
    missed = np.setdiff1d(train, train[subsample(np.ones((len(train), 1)), 42)])[:4]
    rng = np.random.default_rng(0)
    names = rng.choice(["a", "b"], 4000).astype(object)
    names[missed] = "rare"
    vectors = rng.normal(size=(4000, 6)).astype(np.float32)
    vectors[:, 0] += 5 * (names == "b")
    vectors[missed, 1] += 12
    learned = classify(Frame(pd.DataFrame({"class": names}), vectors), "class", methods=["linear"])
    assert learned.predictor.classify(vectors[missed]) == ["rare"] * 4


def test_classes_have_one_order() -> None:
    assert distinct_classes(["1", "nan", "2", "10"] * 9, "y") == ("1", "10", "2", "nan")
    assert distinct_classes(["1.0", "01", "1", "-3"] * 9, "y") == ("-3", "01", "1", "1.0")
