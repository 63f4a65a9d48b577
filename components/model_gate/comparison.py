"""Compares two models on the same photos, by scipy's bootstrap and exact tests."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from components.evaluator.photos import BASELINE, CANDIDATE, Photos

CONFIDENCE = 0.95
RESAMPLES = 9999
AT_ONCE = 10_000_000  # numbers that a bootstrap draws at once
METHOD = "paired percentile bootstrap of the difference; exact McNemar test"
MIN_CLASSES = 2


@dataclass(frozen=True)
class Comparison:
    """The new model against the served one, on the same photos.

    Attributes:
        photos: how many.
        classes: those that are compared.
        accuracy: of the new model.
        baseline_accuracy: of the served one.
        difference: of the two.
        interval: 95 % interval of the difference.
        p_value: of McNemar's exact test that both are right equally often.
        method: how interval and p value are computed.
        fixed: photos that only the new model gets right.
        broken: photos that only the served one gets right.
        recall: by class `candidate` and `baseline`.
    """

    photos: int
    classes: list[str]
    accuracy: float
    baseline_accuracy: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    method: str
    fixed: int
    broken: int
    recall: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class Paired:
    """Which of the compared photos each model gets right.

    Attributes:
        rows: int64 [compared], the photos' rows.
        candidate: bool [compared].
        baseline: bool [compared].
        classes: those that are compared.
    """

    rows: np.ndarray
    candidate: np.ndarray
    baseline: np.ndarray
    classes: list[str]


def pair(photos: Photos) -> Paired | None:
    """Finds what both models can be asked: photos of the classes that both know.

    Where the classes differ each model chooses among the common ones, as it would have to if it
    knew no others.

    Returns:
        None where there is no baseline, fewer than two common classes, or no photo of them.
    """
    known = photos.labels.known
    if BASELINE not in known:
        return None
    columns = [
        column
        for column, label in enumerate(photos.labels.union)
        if all(label in labels for labels in known.values())
    ]
    rows = np.flatnonzero(np.isin(photos.label_index, columns))
    if len(columns) < MIN_CLASSES or not len(rows):
        return None
    truth = photos.label_index[rows]
    right = {
        model: np.array(columns)[photos.probabilities[model][rows][:, columns].argmax(axis=1)]
        == truth
        for model in (CANDIDATE, BASELINE)
    }
    classes = [photos.labels.union[column] for column in columns]
    return Paired(rows, right[CANDIDATE], right[BASELINE], classes)


def compare(photos: Photos, paired: Paired) -> Comparison:
    """Compares two models on all photos that both can be asked."""
    truth = photos.label_index[paired.rows]
    recall = {}
    for label in paired.classes:
        is_label = truth == photos.labels.union.index(label)
        if is_label.any():
            recall[label] = {
                CANDIDATE: float(paired.candidate[is_label].mean()),
                BASELINE: float(paired.baseline[is_label].mean()),
            }
    fixed = int((paired.candidate & ~paired.baseline).sum())
    broken = int((~paired.candidate & paired.baseline).sum())
    return Comparison(
        photos=len(paired.rows),
        classes=paired.classes,
        accuracy=float(paired.candidate.mean()),
        baseline_accuracy=float(paired.baseline.mean()),
        difference=(fixed - broken) / len(paired.rows),
        interval=difference_interval(paired.candidate, paired.baseline),
        p_value=mcnemar(fixed, broken),
        method=METHOD,
        fixed=fixed,
        broken=broken,
        recall=recall,
    )


def difference_interval(candidate: np.ndarray, baseline: np.ndarray) -> tuple[float, float]:
    """Returns the 95 % interval of the difference in accuracy.

    Args:
        candidate: bool [photos], what the new model gets right.
        baseline: bool [photos], what the served one gets right.
    """
    difference = candidate.astype(np.float64) - baseline
    if len(difference) < 2 or np.ptp(difference) == 0:
        # A bootstrap of one value over and over has no width.
        return float(difference.mean()), float(difference.mean())
    found = stats.bootstrap(
        (difference,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // len(difference)),
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def mcnemar(fixed: int, broken: int) -> float:
    """Returns the two-sided p value of McNemar's exact test.

    Source: McNemar, Psychometrika 12, 1947; exact by the binomial distribution.

    Args:
        fixed: photos that only the new model gets right.
        broken: photos that only the served one gets right.
    """
    if not fixed + broken:
        return 1.0
    return float(stats.binomtest(fixed, fixed + broken).pvalue)


def accuracy_interval(right: int, photos: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of an accuracy.

    Args:
        right: photos that are right.
        photos: all, at least 1.
    """
    found = stats.binomtest(right, photos).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def photos_needed(accuracy: float, half_width: float) -> int:
    """Returns how many photos tell an accuracy to within plus or minus a half width.

    By the normal approximation of the binomial distribution, `z² a (1 - a) / w²`.

    Args:
        accuracy: about what it is, in [0, 1].
        half_width: of the 95 % interval, in (0, 1).
    """
    deviations = stats.norm.ppf((1 + CONFIDENCE) / 2)
    # An accuracy of nearly 0 or 1 on few photos does not say that few are enough.
    spread = max(accuracy * (1 - accuracy), 0.02)
    return int(np.ceil(spread * (deviations / half_width) ** 2))
