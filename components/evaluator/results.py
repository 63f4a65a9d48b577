"""What TFMA wrote, as plain numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from components.evaluator.photos import CANDIDATE, read_photos
from components.evaluator.ranking import areas_under_curve
from components.evaluator.reliability import calibration_error

ACCURACY = "accuracy"
BALANCED_ACCURACY = "balanced_accuracy"
TOP_K = "top_{}_accuracy"
LOG_LOSS = "log_loss"
AUC = "auc"
MACRO_F1 = "macro_f1"
CALIBRATION_ERROR = "calibration_error"
EXAMPLE_COUNT = "example_count"
ROUNDING = 1e-6  # margin of the limits: TFMA computes in float32, where 0.7 is less than 0.7
LABEL_PREFIX = "label="
MOST_OF_TOP = 3


def top_k(classes: int) -> int | None:
    """Returns the k of the top-k accuracy: 3, less for few classes, None where it says nothing."""
    return min(MOST_OF_TOP, classes - 1) if classes > 2 else None


@dataclass
class Metrics:
    """Metrics of one model on one split.

    Attributes:
        overall: value by metric name.
        by_slice: the same for the images of each slice.
        per_class: by class `precision`, `recall`, `f1`, `auc` and `support`; a ratio of nothing
            is None.
        confusion: int64 [true, predicted] in the order of the labels.
    """

    overall: dict[str, float] = field(default_factory=dict)
    by_slice: dict[str, dict[str, float]] = field(default_factory=dict)
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    @property
    def by_label(self) -> dict[str, dict[str, float]]:
        """Returns the metrics of the images of each label."""
        return {
            name.removeprefix(LABEL_PREFIX): values
            for name, values in sorted(self.by_slice.items())
            if name.startswith(LABEL_PREFIX)
        }


def read_metrics(evaluation: str) -> dict[str, Metrics]:
    """Reads an evaluation that TFMA wrote.

    Args:
        evaluation: URI of the ModelEvaluation artifact.

    Returns:
        Metrics under `"candidate"`, and under `"baseline"` where there was one; none for a split
        without photos.
    """
    photos = read_photos(evaluation)
    labels = photos.labels.union
    found: dict[str, Metrics] = {}
    _read_values(evaluation, found)
    confusions = _read_confusions(evaluation, len(labels) + 1)
    for model, metrics in found.items():
        # The last row is of photos whose label no model knows.
        metrics.confusion = confusions[model][:-1, :-1]
        areas = areas_under_curve(photos.probabilities[model], photos.label_index)
        metrics.per_class = _per_class(confusions[model], labels, areas)
        known = [one for one in metrics.per_class.values() if one["recall"] is not None]
        metrics.overall |= _summarize(known)
        metrics.overall[CALIBRATION_ERROR] = calibration_error(
            photos.probabilities[model], photos.label_index
        )
    return found


def _read_values(evaluation: str, found: dict[str, Metrics]) -> None:
    """Fills in TFMA's values."""
    import tensorflow_model_analysis as tfma

    for record in tfma.load_metrics(evaluation):
        keys = record.slice_key.single_slice_keys
        name = keys[0].bytes_value.decode() if keys else None
        for pair in record.metric_keys_and_values:
            if pair.key.is_diff or pair.value.WhichOneof("type") != "double_value":
                continue
            model = pair.key.model_name or CANDIDATE
            metrics, value = found.setdefault(model, Metrics()), pair.value.double_value.value
            values = metrics.overall if name is None else metrics.by_slice.setdefault(name, {})
            values[pair.key.name] = value


def _read_confusions(evaluation: str, classes: int) -> dict[str, np.ndarray]:
    """Returns each model's counts, int64 [true, predicted]."""
    import tensorflow_model_analysis as tfma

    found: dict[str, np.ndarray] = {}
    for record in tfma.load_plots(evaluation):
        if record.slice_key.single_slice_keys:
            continue
        for pair in record.plot_keys_and_values:
            counts = found.setdefault(
                pair.key.model_name or CANDIDATE, np.zeros((classes, classes), np.int64)
            )
            plot = pair.value.multi_class_confusion_matrix_at_thresholds
            for entry in plot.matrices[0].entries if plot.matrices else ():
                counts[entry.actual_class_id, entry.predicted_class_id] += round(
                    entry.num_weighted_examples
                )
    return found


def _per_class(
    confusion: np.ndarray, labels: Sequence[str], areas: Sequence[float | None]
) -> dict[str, dict[str, float | None]]:
    right = np.diag(confusion)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    per_class: dict[str, dict[str, float | None]] = {}
    for row, label in enumerate(labels):
        per_class[label] = {
            "precision": _ratio(right[row], predicted[row]),
            "recall": _ratio(right[row], support[row]),
            "f1": _ratio(2 * right[row], support[row] + predicted[row]),
            "auc": areas[row],
            "support": int(support[row]),
        }
    return per_class


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _summarize(classes: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Returns the means over classes; a figure that no class has is left out."""
    names = {BALANCED_ACCURACY: "recall", MACRO_F1: "f1", AUC: "auc"}
    told = {name: [one[of] for one in classes if one[of] is not None] for name, of in names.items()}
    return {name: float(np.mean(values)) for name, values in told.items() if values}


def class_changes(before: Sequence[str], now: Sequence[str]) -> str:
    """Names the classes that came and went against the served model; empty where none did.

    Args:
        before: the served model's classes; empty where there is none.
        now: the new model's classes.
    """
    gone = sorted(set(before) - set(now))
    new = sorted(set(now) - set(before)) if before else []
    words = ""
    if gone:
        words += f" Classes of the served model that this one does not know: {', '.join(gone)}."
    if new:
        words += f" New classes: {', '.join(new)}."
    return words
