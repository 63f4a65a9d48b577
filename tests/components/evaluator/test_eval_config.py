"""What TFMA is asked."""

import pytest

pytest.importorskip("tensorflow_model_analysis")

from components.evaluator.eval_config import add_metrics, build_eval_config


def test_nothing_is_judged_as_the_model_gate_does_that() -> None:
    (metrics,) = build_eval_config().metrics_specs
    assert not any(one.per_slice_thresholds or one.HasField("threshold") for one in metrics.metrics)


def test_metrics_are_named_for_people_and_counted() -> None:
    (metrics,) = build_eval_config().metrics_specs
    assert [(metric.class_name, metric.config) for metric in metrics.metrics] == [
        ("SparseCategoricalAccuracy", '{"name": "accuracy"}'),
        ("ExampleCount", ""),
    ]


def test_all_images_and_each_slice_are_measured() -> None:
    slices = build_eval_config().slicing_specs
    assert [list(one.feature_keys) for one in slices] == [[], ["slice"]]


def test_the_model_is_asked_by_the_signatures_that_it_has() -> None:
    (model,) = build_eval_config().model_specs
    assert model.signature_name == "serving_examples"
    assert model.prediction_key == "probabilities"
    assert not model.model_type


@pytest.mark.parametrize(("classes", "k"), [(2, None), (3, 2), (4, 3), (100, 3)])
def test_what_is_measured_follows_the_classes(classes: int, k: int | None) -> None:
    config = build_eval_config()
    add_metrics(config, classes)
    [whole] = config.metrics_specs
    names = [metric.class_name for metric in whole.metrics[2:4]]
    assert names == ["SparseCategoricalCrossentropy", "MultiClassConfusionMatrixPlot"]
    top = [metric.config for metric in whole.metrics[4:]]
    assert top == ([f'{{"name": "top_{k}_accuracy", "k": {k}}}'] if k else [])
