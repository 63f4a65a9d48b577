"""What TFMA is asked, and that it decides at the limits as a person would."""

import numpy as np
import pytest

pytest.importorskip("tensorflow_model_analysis")

from components.evaluator.eval_config import Limits, add_metrics, build_eval_config


def threshold(min_accuracy: float = 0.7, max_accuracy_drop: float = 0.05):
    (metrics,) = build_eval_config(Limits(min_accuracy, max_accuracy_drop)).metrics_specs
    gated = [metric for metric in metrics.metrics if metric.per_slice_thresholds]
    assert [metric.class_name for metric in gated] == ["SparseCategoricalAccuracy"]
    return gated[0].per_slice_thresholds[0].threshold


def passes(min_accuracy: float, max_accuracy_drop: float, accuracy: float, served: float) -> bool:
    """Decides as tensorflow_model_analysis/evaluators/metrics_validator.py does, in float32."""
    limits = threshold(min_accuracy, max_accuracy_drop)
    candidate, baseline = np.float32(accuracy), np.float32(served)
    change = float(candidate) - float(baseline)
    return (
        float(candidate) >= limits.value_threshold.lower_bound.value
        and change >= limits.change_threshold.absolute.value
    )


def test_the_limits_are_those_of_the_configuration() -> None:
    limits = threshold(0.7, 0.05)
    assert limits.value_threshold.lower_bound.value == pytest.approx(0.7, abs=2e-6)
    assert limits.change_threshold.absolute.value == pytest.approx(-0.05, abs=2e-6)
    assert not limits.value_threshold.HasField("upper_bound")


@pytest.mark.parametrize("share", [0.1, 0.6, 0.7, 0.9, 1.0])
def test_an_accuracy_at_the_limit_passes_though_float32_rounds_it_down(share: float) -> None:
    assert passes(share, 0.0, share, 0.0)
    assert not passes(share, 0.0, share - 1e-5, 0.0)


def test_a_drop_at_the_limit_passes_and_one_beyond_does_not() -> None:
    assert passes(0.5, 0.05, 0.75, 0.80)
    assert not passes(0.5, 0.05, 0.7499, 0.80)


def test_the_same_accuracy_as_the_served_model_passes_where_no_drop_is_allowed() -> None:
    assert passes(0.0, 0.0, 1 / 3, 1 / 3)
    assert not passes(0.0, 0.0, 0.3333, 0.3334)


def test_the_limits_hold_for_all_images_together_and_for_no_label_alone() -> None:
    import tensorflow_model_analysis as tfma

    accuracy = build_eval_config(Limits(0.7, 0.05)).metrics_specs[0].metrics[0]
    assert not accuracy.HasField("threshold")
    (specification,) = accuracy.per_slice_thresholds[0].slicing_specs
    limited = tfma.slicer.slicer_lib.SingleSliceSpec(spec=specification)
    assert limited.is_slice_applicable(())
    assert not limited.is_slice_applicable((("slice", "label=daisy"),))


def test_without_limits_nothing_is_judged() -> None:
    (metrics,) = build_eval_config().metrics_specs
    assert not any(one.per_slice_thresholds or one.HasField("threshold") for one in metrics.metrics)


def test_metrics_are_named_for_people_and_counted() -> None:
    (metrics,) = build_eval_config(Limits(0.5, 0.0)).metrics_specs
    assert [(metric.class_name, metric.config) for metric in metrics.metrics] == [
        ("SparseCategoricalAccuracy", '{"name": "accuracy"}'),
        ("ExampleCount", ""),
    ]


def test_all_images_and_each_slice_are_measured() -> None:
    slices = build_eval_config(Limits(0.5, 0.0)).slicing_specs
    assert [list(one.feature_keys) for one in slices] == [[], ["slice"]]


def test_the_model_is_asked_by_the_signatures_that_it_has() -> None:
    (model,) = build_eval_config(Limits(0.5, 0.0)).model_specs
    assert model.signature_name == "serving_examples"
    assert model.prediction_key == "probabilities"
    assert not model.model_type


@pytest.mark.parametrize(("classes", "k"), [(2, None), (3, 2), (4, 3), (100, 3)])
def test_what_is_measured_follows_the_classes(classes: int, k: int | None) -> None:
    config = build_eval_config(Limits(0.5, 0.0))
    add_metrics(config, classes)
    whole, one_against_the_rest = config.metrics_specs
    # The limits stay where the configuration's history looks for them.
    assert whole.metrics[0].per_slice_thresholds
    names = [metric.class_name for metric in whole.metrics[2:4]]
    assert names == ["SparseCategoricalCrossentropy", "MultiClassConfusionMatrixPlot"]
    top = [metric.config for metric in whole.metrics[4:]]
    assert top == ([f'{{"name": "top_{k}_accuracy", "k": {k}}}'] if k else [])
    assert list(one_against_the_rest.binarize.class_ids.values) == list(range(classes))
