"""Classification metrics against scikit-learn on plain predictions, and what classes a run may have."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk
from training_helpers import BINARY, PLAIN, example, yes_or_no

from luthier.errors import DataError
from luthier.training.metrics import Classes, classification_metrics, find_classes, normalised

SEVERAL = replace(PLAIN, compute_classification_metrics=True, classification_n_classes=3)


def drawn(rows: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities and truths that agree more often than not."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(labels, size=rows)
    return rng.normal(size=(rows, labels)) - 3 + 1.2 * np.eye(labels)[truth], truth


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_metrics_are_scikit_learns(positive: int) -> None:
    scores, truth = drawn(200, 2)
    found = classification_metrics(scores, truth, Classes((" no", " yes"), ((1,), (2,)), positive, (0.5, 2.0)))
    odds = np.exp(scores[:, positive]) / np.exp(scores).sum(1)
    right, chosen = truth == positive, odds >= 0.5
    assert found == pytest.approx(
        {
            "accuracy": (right == chosen).mean(),
            "precision": (right & chosen).sum() / chosen.sum(),
            "recall": (right & chosen).sum() / right.sum(),
            "auroc": sk.roc_auc_score(right, odds),
            "auprc": sk.average_precision_score(right, odds),
            "f1.0": sk.f1_score(right, chosen),
            "f0.5": sk.fbeta_score(right, chosen, beta=0.5),
            "f2.0": sk.fbeta_score(right, chosen, beta=2),
        }
    )
    assert list(found) == ["accuracy", "precision", "recall", "auroc", "auprc", "f1.0", "f0.5", "f2.0"]


def test_multiclass_metrics_are_scikit_learns() -> None:
    scores, truth = drawn(100, 4)
    found = classification_metrics(scores, truth, Classes(tuple("abcd"), ((1,), (2,), (3,), (4,))))
    predicted = scores.argmax(1)
    assert found == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, predicted),
            "weighted_f1_score": sk.f1_score(truth, predicted, average="weighted"),
        }
    )


def test_curves_of_one_class_alone_are_left_out() -> None:
    scores, _ = drawn(5, 2)
    found = classification_metrics(scores, np.zeros(5, dtype=np.int64), Classes(("a", "b"), ((1,), (2,)), 0))
    assert "auroc" not in found
    assert "accuracy" in found


def test_probabilities_are_normalised_over_the_labels_even_when_all_are_tiny() -> None:
    np.testing.assert_allclose(normalised(np.array([[-2000.0, -2000.0 + np.log(3)]])), [[0.25, 0.75]])


def test_no_metrics_unless_asked_for() -> None:
    assert find_classes(yes_or_no(9), [], PLAIN) is None


def test_labels_are_the_completions_of_both_files_with_their_tokens() -> None:
    classes = find_classes([example("a", " yes")], [example("b", " no")], replace(BINARY, classification_betas=(2.0,)))
    assert classes == Classes((" no", " yes"), (tuple(b" no"), tuple(b" yes")), positive=1, betas=(2.0,))
    assert classes.truth([example("a", " yes"), example("b", " no")]).tolist() == [1, 0]


def test_two_classes_without_a_positive_one_get_multiclass_metrics() -> None:
    classes = find_classes(
        yes_or_no(9), yes_or_no(9), replace(SEVERAL, classification_n_classes=2, classification_positive_class=None)
    )
    assert classes is not None
    assert classes.positive is None


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"classification_n_classes": 3}, "classification_n_classes", "2 different labels: ' no', ' yes'"),
        ({"classification_positive_class": "yes"}, "classification_positive_class", "White space counts"),
        ({"classification_positive_class": None}, "classification_n_classes", "need classification_n_classes"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(changes: dict[str, object], param: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        find_classes(yes_or_no(20), yes_or_no(20), replace(BINARY, **changes))
    assert caught.value.param == param


def test_a_positive_class_of_several_is_refused() -> None:
    with pytest.raises(DataError, match="3 different labels"):
        find_classes([*yes_or_no(20), example("a", " maybe")], yes_or_no(20), BINARY)


def test_metrics_need_a_validation_set_with_prompts() -> None:
    with pytest.raises(DataError, match="need a validation file"):
        find_classes(yes_or_no(20), [], BINARY)
    with pytest.raises(DataError, match="need a prompt"):
        find_classes(yes_or_no(20), [example("", " yes")], BINARY)


def test_a_message_names_only_the_first_of_many_labels() -> None:
    many = [example("a", f" {n}") for n in range(1000)]
    with pytest.raises(DataError, match=r"1000 different labels: .{,100}…\.$"):
        find_classes(many, many, SEVERAL)
