"""Where to part scores of two groups when no row has a label: from the scores' own distribution.

The scores are taken for a mixture of two normal distributions of equal width (fitted by expectation maximisation); the
threshold is where both are equally likely, so that the groups' sizes count. That only means something where there are
two heaps: Ashman's D, the distance of the means in standard deviations, must be at least 2 (Ashman, Bird & Zepf 1994,
"Detecting bimodality in astronomical datasets").
"""

from dataclasses import dataclass

import numpy as np

from luthier.toolkit.machines import Array

LEAST_ROWS = 30  # fewer scores say nothing about a distribution
LEAST_SEPARATION = 2.0
LEAST_SHARE = 0.05  # of the rows; a smaller heap is outliers, and no group
_ROUNDS = 500
_CLOSE = 1e-8  # change of the mean log likelihood at which the fit ends


@dataclass(frozen=True)
class Mixture:
    """Two normal distributions of equal width.

    Args:
        low, high: their means.
        deviation: their standard deviation.
        share: of the rows that belong to the high one.
    """

    low: float
    high: float
    deviation: float
    share: float

    @property
    def separation(self) -> float:
        """Ashman's D of two groups of equal width: (high - low) / deviation."""
        return (self.high - self.low) / self.deviation

    @property
    def has_two_groups(self) -> bool:
        """Whether both heaps stand apart and neither is a handful of outliers."""
        return self.separation >= LEAST_SEPARATION and LEAST_SHARE <= self.share <= 1 - LEAST_SHARE

    @property
    def threshold(self) -> float:
        """Where a score is as likely to be of the one as of the other.

        (low + high) / 2 + deviation² / (high - low) x log((1 - share) / share)
        """
        middle = (self.low + self.high) / 2
        return middle + self.deviation**2 / (self.high - self.low) * float(np.log((1 - self.share) / self.share))


def fit_mixture(scores: Array) -> Mixture | None:
    """The likeliest mixture of scores (N,), of several starts; None where there are too few or all are the same."""
    if len(scores) < LEAST_ROWS or np.ptp(scores) == 0:
        return None
    starts = [np.quantile(scores, (low, 1 - low)) for low in (0.05, 0.15, 0.25)]
    starts += [np.quantile(scores, (0.1, 0.6)), np.quantile(scores, (0.4, 0.9))]
    fits = [_expectation_maximisation(scores, low, high) for low, high in starts]
    return max(fits, key=lambda fit: fit[1])[0]


def _expectation_maximisation(scores: Array, low: float, high: float) -> tuple[Mixture, float]:
    """A mixture, and the mean log likelihood of the scores under it."""
    spread = float(scores.std())
    made, likelihood = Mixture(low, high, spread / 2, 0.5), -np.inf
    for _ in range(_ROUNDS):
        heights = np.stack([(scores - made.low) / made.deviation, (scores - made.high) / made.deviation])
        logs = -(heights**2) / 2 - np.log(made.deviation) + np.log([[1 - made.share], [made.share]])  # (2, N)
        of_rows = np.logaddexp(*logs)
        now = float(of_rows.mean())
        if now - likelihood < _CLOSE:
            break
        likelihood = now
        of_high = np.exp(logs[1] - of_rows)  # (N,), how likely each is of the high one
        share = float(of_high.mean().clip(1e-6, 1 - 1e-6))
        low = float(((1 - of_high) * scores).mean() / (1 - share))
        high = float((of_high * scores).mean() / share)
        variance = float(((1 - of_high) * (scores - low) ** 2 + of_high * (scores - high) ** 2).mean())
        made = Mixture(low, high, max(np.sqrt(variance), spread * 1e-3), share)
    return made, likelihood
