"""What TFMA measures of a model, and which limits the model gate asks for."""

import json
from dataclasses import dataclass

# The top-level name tfma.EvalConfig is missing in TFMA 0.52, the module below is in both stacks.
from tensorflow_model_analysis.proto import config_pb2

from components import features
from components.evaluator.results import ACCURACY, AUC, LOG_LOSS, ROUNDING, TOP_K, top_k

SLICE = "slice"  # feature: names of all slices that a photo is in
AUC_THRESHOLDS = 200


@dataclass(frozen=True)
class Limits:
    """What the model gate asks.

    Attributes:
        min_accuracy: lowest accuracy that passes, in [0, 1].
        max_accuracy_drop: how far below the served model's accuracy the new one may be, in [0, 1];
            TFMA ignores it where there is no baseline.
    """

    min_accuracy: float
    max_accuracy_drop: float


def build_eval_config(limits: Limits | None = None) -> config_pb2.EvalConfig:
    """Builds the part of an evaluation that is known before there is a model: accuracy, its limits.

    Args:
        limits: of the model gate. Default: none, so that the model is measured and not judged.
    """
    accuracy = _metric("SparseCategoricalAccuracy", name=ACCURACY)
    if limits:
        # A plain `threshold` would hold every slice to the overall limits.
        accuracy.per_slice_thresholds.append(_overall_threshold(limits))
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name=features.SERVE_EXAMPLES, prediction_key=features.PROBABILITIES
            )
        ],
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=[SLICE])],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[accuracy, _metric("ExampleCount")])],
    )


def add_metrics(config: config_pb2.EvalConfig, classes: int) -> None:
    """Adds what depends on the classes: log loss, top-k, confusion matrix, AUC of each class.

    Args:
        config: what `build_eval_config` gave.
        classes: how many either model knows, at least 2.
    """
    [measured] = config.metrics_specs
    measured.metrics.extend(
        [
            _metric("SparseCategoricalCrossentropy", name=LOG_LOSS),
            _metric("MultiClassConfusionMatrixPlot"),
        ]
    )
    if k := top_k(classes):
        measured.metrics.append(_metric("SparseTopKCategoricalAccuracy", name=TOP_K.format(k), k=k))
    one_against_the_rest = config.metrics_specs.add()
    one_against_the_rest.binarize.class_ids.values.extend(range(classes))
    one_against_the_rest.metrics.append(_metric("AUC", name=AUC, num_thresholds=AUC_THRESHOLDS))


def _overall_threshold(limits: Limits) -> config_pb2.PerSliceMetricThreshold:
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[config_pb2.SlicingSpec()],
        threshold=config_pb2.MetricThreshold(
            value_threshold=config_pb2.GenericValueThreshold(
                lower_bound={"value": limits.min_accuracy - ROUNDING}
            ),
            change_threshold=config_pb2.GenericChangeThreshold(
                direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
                absolute={"value": -limits.max_accuracy_drop - ROUNDING},
            ),
        ),
    )


def _metric(kind: str, /, **config: object) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=kind, config=json.dumps(config) if config else "")
