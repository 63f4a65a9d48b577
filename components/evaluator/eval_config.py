"""What TFMA measures and which limits the model gate asks for."""

from dataclasses import dataclass

# The top-level name tfma.EvalConfig is missing in TFMA 0.52, the module below is in both stacks.
from tensorflow_model_analysis.proto import config_pb2

from components import features
from components.evaluator.results import ACCURACY, ROUNDING


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
    """Builds the evaluation: accuracy and counts, overall and by label.

    Only what a baseline of fewer classes can be asked too: for a label that it does not know it has
    the row -1, which counts as wrong here and would end TFMA's cross-entropy with an error.

    Args:
        limits: of the model gate. Default: none, so that the model is measured and not judged.
    """
    accuracy = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config=f'{{"name": "{ACCURACY}"}}',
        # A plain `threshold` would hold every label's slice to the overall limits.
        per_slice_thresholds=[_overall_threshold(limits)] if limits else [],
    )
    count = config_pb2.MetricConfig(class_name="ExampleCount")
    return config_pb2.EvalConfig(
        model_specs=[_model_spec()],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=[features.LABEL]),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[accuracy, count])],
    )


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


def _model_spec() -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        signature_name=features.SERVE_EXAMPLES,
        prediction_key=features.PROBABILITIES,
        preprocessing_function_names=[features.INDEX_LABELS],
        label_key=features.LABEL_INDEX,
    )
