"""How far a model's confidence is from how often it is right."""

from dataclasses import dataclass

import numpy as np

BINS = 10  # of equal width


@dataclass(frozen=True)
class Reliability:
    """Photos by the probability of the predicted class, in `BINS` bins of equal width over [0, 1].

    Attributes:
        counts: int64 [BINS].
        confidence: float64 [BINS], mean in each bin; NaN where it is empty.
        accuracy: float64 [BINS], share that is right in each bin; NaN where it is empty.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(probabilities: np.ndarray, label_index: np.ndarray) -> Reliability:
    """Sorts photos into bins.

    Args:
        probabilities: float32 [photos, classes].
        label_index: int64 [photos], true column.
    """
    confidence = probabilities.max(axis=1, initial=0.0).astype(np.float64)
    right = probabilities.argmax(axis=1) == label_index if len(confidence) else np.zeros(0, bool)
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            counts=counts,
            confidence=np.bincount(place, confidence, BINS) / counts,
            accuracy=np.bincount(place, right.astype(np.float64), BINS) / counts,
        )


def calibration_error(probabilities: np.ndarray, label_index: np.ndarray) -> float:
    """Returns the expected calibration error: the mean distance of confidence and accuracy.

    Source: Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599.
    TFMA has it for one class against the rest only.

    Args:
        probabilities: see `reliability`.
        label_index: see `reliability`.
    """
    found = reliability(probabilities, label_index)
    filled = found.counts > 0
    distance = np.abs(found.confidence - found.accuracy)[filled]
    return float(distance @ found.counts[filled] / found.counts.sum()) if filled.any() else 0.0
