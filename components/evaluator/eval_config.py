"""What TFMA measures of a model."""

import json

# The top-level name tfma.EvalConfig is missing in TFMA 0.52, the module below is in both stacks.
from tensorflow_model_analysis.proto import config_pb2

from components import features
from components.evaluator.results import ACCURACY, LOG_LOSS, TOP_K, top_k

SLICE = "slice"  # feature: names of all slices that a photo is in


def build_eval_config() -> config_pb2.EvalConfig:
    """Builds the part of an evaluation that is known before there is a model.

    Without thresholds, so that TFMA measures and the model gate decides.
    """
    accuracy = _metric("SparseCategoricalAccuracy", name=ACCURACY)
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
    """Adds what depends on the classes: log loss, top-k, confusion matrix.

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


def _metric(kind: str, /, **config: object) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=kind, config=json.dumps(config) if config else "")
