"""What TFMA wrote, as plain numbers, and the gate's verdict on them in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ACCURACY = "accuracy"
ROUNDING = 1e-6  # margin of the limits: TFMA computes in float32, where 0.7 is less than 0.7
EXAMPLE_COUNT = "example_count"
CANDIDATE = "candidate"
BASELINE = "baseline"


@dataclass(frozen=True)
class Metrics:
    """Metrics of one model on one split.

    Attributes:
        overall: value by metric name.
        by_label: the same for the images of each label.
    """

    overall: dict[str, float] = field(default_factory=dict)
    by_label: dict[str, dict[str, float]] = field(default_factory=dict)


def read_metrics(evaluation: str) -> dict[str, Metrics]:
    """Reads an evaluation that TFMA wrote.

    Args:
        evaluation: URI of the ModelEvaluation artifact.

    Returns:
        Metrics under `"candidate"`, and under `"baseline"` where there was one.
    """
    import tensorflow_model_analysis as tfma

    metrics: dict[str, Metrics] = {}
    for record in tfma.load_metrics(evaluation):
        slice_keys = record.slice_key.single_slice_keys
        label = slice_keys[0].bytes_value.decode() if slice_keys else None
        for pair in record.metric_keys_and_values:
            if pair.key.is_diff or pair.value.WhichOneof("type") != "double_value":
                continue
            model = metrics.setdefault(pair.key.model_name or CANDIDATE, Metrics())
            values = model.overall if label is None else model.by_label.setdefault(label, {})
            values[pair.key.name] = pair.value.double_value.value
    return metrics


def verdict_in_words(
    metrics: Mapping[str, Metrics],
    limits: Mapping[str, Any],
    blessed: bool,
    served_version: int | None = None,
) -> str:
    """Says why the model gate decided as it did.

    Args:
        metrics: see `read_metrics`.
        limits: `min_accuracy` and `max_accuracy_drop`.
        blessed: what TFMA decided.
        served_version: what was served when the run began. Default: nothing.

    Returns:
        One sentence with every figure beside its limit.
    """
    candidate = metrics[CANDIDATE].overall
    photos = f"{candidate[EXAMPLE_COUNT]:,.0f} validation photos"
    words = (
        f"accuracy {candidate[ACCURACY]:.3f} on {photos} "
        f"(at least {limits['min_accuracy']:.3f} is asked)"
    )
    if BASELINE in metrics:
        served = metrics[BASELINE].overall[ACCURACY]
        words += (
            f"; the served model reaches {served:.3f} on the same photos "
            f"(a drop of up to {limits['max_accuracy_drop']:.3f} is allowed)"
        )
    elif served_version is not None:
        words += (
            f"; version {served_version}, which was served, is not in this pipeline's metadata "
            "and was not compared with"
        )
    else:
        words += "; no served model to compare with"
    return f"Passed: {words}." if blessed else f"Refused: {words}. {_mend(metrics, limits)}"


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


def _mend(metrics: Mapping[str, Metrics], limits: Mapping[str, Any]) -> str:
    candidate = metrics[CANDIDATE].overall
    if candidate[ACCURACY] < limits["min_accuracy"] - ROUNDING:
        return "Train longer or on more photos, or lower evaluate.min_accuracy."
    drop = metrics[BASELINE].overall[ACCURACY] - candidate[ACCURACY]
    photos = round(drop * candidate[EXAMPLE_COUNT])
    return (
        f"The drop is that of {photos:,} photos; to allow it, raise evaluate.max_accuracy_drop "
        f"above {drop:.3f}."
    )
