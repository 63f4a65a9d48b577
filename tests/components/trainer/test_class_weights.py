"""Weights that balance classes."""

import pytest

from components.trainer.class_weights import class_weights


def test_rare_classes_count_more_so_that_all_count_the_same() -> None:
    counts = [10, 30, 80]
    weights = class_weights(counts)
    assert weights == [4.0, 120 / 90, 0.5]
    assert [count * weight for count, weight in zip(counts, weights, strict=True)] == [40.0] * 3


def test_equal_classes_keep_weight_one() -> None:
    assert class_weights([7, 7, 7]) == [1.0, 1.0, 1.0]


def test_a_class_without_images_counts_nothing_and_changes_nothing() -> None:
    assert class_weights([10, 0, 30]) == [2.0, 0.0, 40 / 60]
    assert class_weights([0, 0]) == [0.0, 0.0]
    assert class_weights([]) == []


@pytest.mark.parametrize("counts", [[1, 2, 3, 0], [1000, 1], [5]])
def test_the_mean_weight_of_an_image_is_one(counts: list[int]) -> None:
    total = sum(count * weight for count, weight in zip(counts, class_weights(counts), strict=True))
    assert total / sum(counts) == pytest.approx(1)
