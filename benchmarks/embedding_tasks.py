"""What embeddings are good for, beside the guide's published figures, on the same rows and the same split.

    LUTHIER_TEST_DATA=folder python benchmarks/embedding_tasks.py [TASK …] [--model NAME] [--embeddings FILE]

Each task is done by the method that Luthier picks by default, chosen by cross-validation on the training rows (or, for
zero-shot, without any label); test rows are looked at once, at the end. Beside it stand the guide's method on
our embeddings, and a dummy. `--permuted` shuffles the target first: what is left then is chance.

The folder holds fine_food_reviews_1k.csv: 1,000 reviews with Score, Summary, Text, UserId, ProductId; and for
customizing snli_1.0_train_2k.csv, which `--permuted` leaves as it is.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from customizing import PUBLISHED, snli
from machine import machine

from luthier.cli.frames import DEFAULT_MODEL, embedder
from luthier.toolkit.classify import classify
from luthier.toolkit.frame import Frame, read_frame, read_rows, texts_of
from luthier.toolkit.holdout import hold_out
from luthier.toolkit.profiles import profiles
from luthier.toolkit.regress import errors, regress
from luthier.toolkit.zero_shot import Pieces, ZeroShot, judge, zero_shot
from luthier.types import Embed

FILE = "fine_food_reviews_1k.csv"
TEMPLATE = "Title: {Summary}; Content: {Text}"
LABELS = ("negative", "positive")
STARS = {1: "negative", 2: "negative", 4: "positive", 5: "positive"}  # 3 stars are left out, as in the guide
GUIDES = {
    "negative": ("An Amazon review with a negative sentiment.",),
    "positive": ("An Amazon review with a positive sentiment.",),
}
PHRASINGS = (
    "a {} review",
    "This is a {} review.",
    "The sentiment of this review is {}.",
    "{} feedback from a customer",
    "a review with a {} sentiment",
    "An Amazon review with a {} sentiment.",
    "a {} opinion about a product",
    "It was {}.",
)
SEED, TEST = 42, 0.2
SNLI, SPLIT = "snli_1.0_train_2k.csv", 123
Row = tuple[str, str, str]  # what, figures, remark


@dataclass(frozen=True)
class Given:
    """What a task may use: the reviews with their embeddings, their texts, who embeds, and the options."""

    frame: Frame
    texts: list[str]
    embed: Embed
    options: argparse.Namespace


def main() -> None:
    options = parse()
    frame, texts = load(options.folder / FILE, options.embeddings, options.model)
    if options.permuted:
        shuffled = np.random.default_rng(0).permutation(frame.rows.Score)
        frame = Frame(frame.rows.assign(Score=shuffled), frame.vectors, frame.model)
    results: dict[str, Any] = {"machine": machine(), "model": options.model, "permuted": options.permuted}
    print(f"{machine()}\n{options.model}, {len(frame):,} reviews{', target permuted' if options.permuted else ''}")
    with embedder(options.model) as embed:
        for name in options.tasks or list(TASKS):
            start = time.perf_counter()
            rows, figures = TASKS[name](Given(frame, texts, embed, options))
            figures["seconds"] = round(time.perf_counter() - start, 1)
            results[name] = figures
            show(name, rows, figures["seconds"])
    print(json.dumps(results))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--folder", type=Path, help=f"with {FILE} and {SNLI}; by default LUTHIER_TEST_DATA")
    parser.add_argument("--embeddings", type=Path, help="the same rows with embeddings, to save time")
    parser.add_argument("--snli-vectors", type=Path, help="columns `text` and `embedding` of SNLI's sentences")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--permuted", action="store_true", help="shuffle the target, to see chance")
    options = parser.parse_args()
    options.folder = options.folder or Path(os.environ.get("LUTHIER_TEST_DATA", "."))
    if not (options.folder / FILE).exists():
        parser.error(f"there is no {FILE} in {options.folder}: say with --folder or LUTHIER_TEST_DATA where it is")
    for task in options.tasks:
        if task not in TASKS:
            parser.error(f"there is no task {task}; there are {', '.join(TASKS)}")
    return options


def load(data: Path, embeddings: Path | None, model: str) -> tuple[Frame, list[str]]:
    """The reviews in the file's order with their embeddings, and their texts."""
    rows = read_rows(data)
    texts = texts_of(rows.assign(Summary=rows.Summary.str.strip(), Text=rows.Text.str.strip()), TEMPLATE)
    if embeddings is not None:
        return read_frame(embeddings), texts
    with embedder(model) as embed:
        return Frame(rows, embed(texts), model), texts


def classification(given: Given) -> tuple[list[Row], dict[str, Any]]:
    """Stars as classes; the guide: a random forest of 100 trees."""
    frame = given.frame
    ours = classify(frame, "Score", test_size=TEST, seed=SEED)
    guides = classify(frame, "Score", methods=["forest"], test_size=TEST, seed=SEED)
    rows: list[Row] = [
        ("published, ada-002", "accuracy 0.77, mean average precision 0.87", "random forest"),
        (
            "Luthier",
            f"accuracy {ours.accuracy:.3f}, average precision {ours.mean_average_precision:.3f} mean, "
            f"{ours.micro_average_precision:.3f} micro",
            ours.method,
        ),
        (
            "the guide's method here",
            f"accuracy {guides.accuracy:.3f}, average precision {guides.mean_average_precision:.3f} mean, "
            f"{guides.micro_average_precision:.3f} micro",
            guides.method,
        ),
        ("dummy", f"accuracy {ours.majority:.3f}", "the commonest class"),
    ]
    return rows, {
        "accuracy": ours.accuracy,
        "mean_average_precision": ours.mean_average_precision,
        "micro_average_precision": ours.micro_average_precision,
        "log_loss": ours.log_loss,
        "calibration_error": ours.reliability.error,
        "method": ours.method,
        "forest_accuracy": guides.accuracy,
        "dummy_accuracy": ours.majority,
        "published_accuracy": 0.77,
    }


def regression(given: Given) -> tuple[list[Row], dict[str, Any]]:
    """Stars as a number; the guide: a random forest of 100 trees, each looking at all dimensions."""
    from sklearn.ensemble import RandomForestRegressor

    frame = given.frame
    ours = regress(frame, "Score", test_size=TEST, seed=SEED)
    parts, stars = hold_out(len(frame), TEST, SEED), frame.numbers("Score")
    forest = RandomForestRegressor(n_estimators=100, random_state=SEED).fit(
        frame.vectors[parts.train], stars[parts.train]
    )
    guides = errors(stars[parts.test], forest.predict(frame.vectors[parts.test]))
    rows: list[Row] = [
        ("published, ada-002", "MAE 0.53, MSE 0.62 (the guide's text: MAE 0.39)", "random forest"),
        ("Luthier", f"MAE {ours.test.mae:.3f}, MSE {ours.test.mse:.3f}", ours.method),
        ("the guide's method here", f"MAE {guides.mae:.3f}, MSE {guides.mse:.3f}", "random forest, 100 trees"),
        ("dummy", f"MAE {ours.dummy.mae:.3f}, MSE {ours.dummy.mse:.3f}", "the median"),
    ]
    squared = regress(frame, "Score", metric="mse", test_size=TEST, seed=SEED)
    rows.insert(2, ("Luthier, --metric mse", f"MAE {squared.test.mae:.3f}, MSE {squared.test.mse:.3f}", squared.method))
    return rows, {
        "mae": ours.test.mae,
        "mse": ours.test.mse,
        "method": ours.method,
        "squared": squared.test.as_dict(),
        "forest": guides.as_dict(),
        "dummy": ours.dummy.as_dict(),
        "published_mae": 0.53,
        "published_mse": 0.62,
    }


def sentiment(given: Given) -> tuple[list[Row], dict[str, Any]]:
    """Good or bad without a label: each variant, ours last. Stars serve to leave out 3 and to measure, nothing else."""
    frame, texts, embed = given.frame, given.texts, given.embed
    kept = [row for row, stars in enumerate(frame.rows.Score) if stars in STARS]
    truth = [STARS[frame.rows.Score[row]] for row in kept]
    whole = Pieces.whole(frame.vectors[kept])
    parts = Pieces.of_sentences([texts[row] for row in kept], embed)

    def guides_words(pieces: Pieces, **how: Any) -> ZeroShot:
        return zero_shot(pieces, LABELS, embed, described=GUIDES, **how)

    def phrased(pieces: Pieces, **how: Any) -> ZeroShot:
        return zero_shot(pieces, LABELS, embed, phrasings=PHRASINGS, **how)

    variants = {
        "plain labels, threshold 0": zero_shot(whole, LABELS, embed, phrasings=["{}"], threshold=0.0),
        "the guide's descriptions, threshold 0": guides_words(whole, threshold=0.0),
        "the guide's descriptions, threshold found": guides_words(whole),
        "several phrasings, threshold 0": phrased(whole, threshold=0.0),
        "several phrasings, threshold found": phrased(whole),
        "sentences, the guide's descriptions, threshold 0": guides_words(parts, threshold=0.0),
        "sentences, the guide's descriptions, threshold found": guides_words(parts),
        "sentences, Luthier's own phrasings, threshold found": zero_shot(parts, LABELS, embed),
        "sentences, several phrasings, threshold 0": phrased(parts, threshold=0.0),
        "Luthier: sentences, several phrasings, threshold found": phrased(parts),
    }
    judged = {name: judge(found, truth) for name, found in variants.items()}
    rows: list[Row] = [
        ("published, ada-002", "accuracy 0.90", "plain labels"),
        ("published, ada-002", "accuracy 0.96", "descriptions"),
    ]
    for name, found in variants.items():
        threshold = f"{found.rule}, {found.threshold:.4f}" if found.threshold is not None else found.rule
        rows.append((name, f"accuracy {judged[name].accuracy:.3f}, AUC {judged[name].auc:.3f}", threshold))
    rows.append(("dummy", f"accuracy {judged['plain labels, threshold 0'].majority:.3f}", "always positive"))
    return rows, {
        "rows": len(kept),
        "variants": {name: {"accuracy": one.accuracy, "auc": one.auc} for name, one in judged.items()},
        "accuracy": list(judged.values())[-1].accuracy,
        "published_accuracy": 0.96,
    }


def users_and_products(given: Given) -> tuple[list[Row], dict[str, Any]]:
    """Percentile similarity against stars. The published figure is of 50,000 rows; few of 1,000 have both profiles."""
    made = profiles(given.frame, "UserId", "ProductId", "Score", test_size=TEST, seed=SEED)
    said = f"{made.correlation:.2%}" if made.correlation is not None else "none"
    rows: list[Row] = [
        ("published, 50,000 rows", "correlation 22.11%", "other rows than these"),
        (
            "Luthier, 1,000 rows",
            f"correlation {said}",
            f"{len(made.rows)} held-out rows have both: standard error {1 / max(1, len(made.rows) - 1) ** 0.5:.0%}",
        ),
    ]
    return rows, {"correlation": made.correlation, "pairs": len(made.rows)}


def customizing(given: Given) -> tuple[list[Row], dict[str, Any]]:
    """Pairs of SNLI, half of them for the test; `customizing.py` does it for more splits."""
    options = given.options
    if not (options.folder / SNLI).exists():
        return [("left out", f"{SNLI} is not in {options.folder}", "")], {}
    made = snli(SPLIT, options.model, options.folder, options.snli_vectors)
    before, after = made.before, made.after
    rows: list[Row] = [
        (
            "published",
            f"before {PUBLISHED['before']:.1%}, after {PUBLISHED['after']:.1%}",
            "threshold of the test rows",
        ),
        ("Luthier", f"before {before.chosen}, after {after.chosen}", "threshold of the training rows"),
        ("Luthier", f"before {before.best}, after {after.best}", "threshold of the test rows, as published"),
    ]
    return rows, {"before": before.chosen.value, "after": after.chosen.value, "after_best": after.best.value}


def show(name: str, rows: list[Row], seconds: float) -> None:
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    print(f"\n{name} ({seconds:.0f} s)")
    for what, figures, remark in rows:
        print(f"  {what:{first}}  {figures:{second}}  {remark}")


Task = Callable[[Given], tuple[list[Row], dict[str, Any]]]
TASKS: dict[str, Task] = {
    "classification": classification,
    "regression": regression,
    "zero-shot": sentiment,
    "profiles": users_and_products,
    "customizing": customizing,
}

if __name__ == "__main__":
    main()
