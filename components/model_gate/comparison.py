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
P_VALUE = "p_value"


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
        recall: by class `candidate`, `baseline` and `p_value`, McNemar's for its photos.
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
    """What each model says of the photos that are compared.

    Attributes:
        rows: int64 [compared], the photos' rows.
        truth: int64 [compared], columns of the true classes.
        said: by model int64 [compared], columns of the classes that it chooses.
        classes: those that are compared.
    """

    rows: np.ndarray
    truth: np.ndarray
    said: dict[str, np.ndarray]
    classes: list[str]

    @property
    def candidate(self) -> np.ndarray:
        """Which the new model gets right, bool [compared]."""
        return self.said[CANDIDATE] == self.truth

    @property
    def baseline(self) -> np.ndarray:
        """Which the served model gets right, bool [compared]."""
        return self.said[BASELINE] == self.truth


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
    said = {
        model: np.array(columns)[photos.probabilities[model][rows][:, columns].argmax(axis=1)]
        for model in (CANDIDATE, BASELINE)
    }
    classes = [photos.labels.union[column] for column in columns]
    return Paired(rows, photos.label_index[rows], said, classes)


def compare(photos: Photos, paired: Paired) -> Comparison:
    """Compares two models on all photos that both can be asked."""
    recall = {}
    for label in paired.classes:
        is_label = paired.truth == photos.labels.union.index(label)
        if is_label.any():
            candidate, baseline = paired.candidate[is_label], paired.baseline[is_label]
            recall[label] = {
                CANDIDATE: float(candidate.mean()),
                BASELINE: float(baseline.mean()),
                P_VALUE: mcnemar(
                    int((candidate & ~baseline).sum()), int((~candidate & baseline).sum())
                ),
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
