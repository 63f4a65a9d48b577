"""Paired statistics against figures from elsewhere."""

import numpy as np
import pytest
from scipy import stats

from components.evaluator.photos import BASELINE, CANDIDATE, Labels, Photos
from components.model_gate import comparison


def photos_of(
    truth: list[str], said: dict[str, list[str]], known: dict[str, list[str]] | None = None
) -> Photos:
    """Returns photos of which each model said one class for certain."""
    known = known or {model: sorted(set(truth)) for model in said}
    labels = Labels(known)
    place = {label: column for column, label in enumerate(labels.union)}
    probabilities = {
        model: np.eye(len(place), dtype=np.float32)[[place[label] for label in labels_said]]
        for model, labels_said in said.items()
    }
    names = [f"{number}.jpg" for number in range(len(truth))]
    return Photos(
        labels=labels,
        sha256=names,
        paths=names,
        formats=["jpeg"] * len(truth),
        label_index=np.array([place.get(label, -1) for label in truth]),
        properties={},
        slices=[(f"label={label}", "format=jpeg") for label in truth],
        probabilities=probabilities,
    )


def test_the_interval_is_about_that_of_the_normal_approximation() -> None:
    random = np.random.default_rng(3)
    baseline, candidate = random.random(2000) < 0.9, random.random(2000) < 0.87
    difference = candidate.astype(float) - baseline
    half = 1.96 * difference.std() / 2000**0.5
    low, high = comparison.difference_interval(candidate, baseline)
    assert low == pytest.approx(difference.mean() - half, abs=0.002)
    assert high == pytest.approx(difference.mean() + half, abs=0.002)


def test_equal_models_differ_by_nothing() -> None:
    right = np.array([True, False, True])
    assert comparison.difference_interval(right, right) == (0.0, 0.0)
    assert comparison.mcnemar(0, 0) == 1.0
    one = np.array([True])
    assert comparison.difference_interval(one, ~one) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("fixed", "broken", "p_value"),
    # Twice the binomial tail: 2 (1 + 10) / 2^10, 2 / 2^6; and equal numbers.
    [(1, 9, 22 / 1024), (0, 6, 2 / 64), (5, 5, 1.0)],
)
def test_mcnemars_exact_test(fixed: int, broken: int, p_value: float) -> None:
    assert comparison.mcnemar(fixed, broken) == pytest.approx(p_value)


def test_an_accuracys_interval_is_wilsons() -> None:
    # 81 of 263 is the example of Newcombe, Statistics in Medicine 17, 1998: 0.2553 to 0.3662.
    assert comparison.accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_the_photos_needed_are_those_of_the_approximation() -> None:
    assert comparison.photos_needed(0.5, 0.1) == 97
    assert comparison.photos_needed(0.9, 0.02) == 865
    assert comparison.photos_needed(1.0, 0.02) == 193  # never none


def test_what_became_right_and_wrong_is_counted_by_class() -> None:
    truth = ["a"] * 4 + ["b"] * 2
    said = {CANDIDATE: list("aaabba"), BASELINE: list("aabbbb")}
    photos = photos_of(truth, said)
    paired = comparison.pair(photos)
    assert paired is not None
    found = comparison.compare(photos, paired)
    assert (found.fixed, found.broken, found.photos) == (1, 1, 6)
    assert found.accuracy == found.baseline_accuracy == pytest.approx(4 / 6)
    assert found.recall == {
        "a": {CANDIDATE: 0.75, BASELINE: 0.5, "p_value": 1.0},
        "b": {CANDIDATE: 0.5, BASELINE: 1.0, "p_value": 1.0},
    }
    assert found.p_value == stats.binomtest(1, 2).pvalue


def test_models_of_other_classes_are_compared_on_those_that_both_know() -> None:
    known = {CANDIDATE: ["a", "b", "c"], BASELINE: ["b", "c", "d"]}
    # On the second photo the served model says d, which it must leave out here.
    photos = photos_of(list("abc"), {CANDIDATE: list("abb"), BASELINE: list("bdc")}, known)
    photos.probabilities[BASELINE][1] = [0.0, 0.3, 0.1, 0.6]
    paired = comparison.pair(photos)
    assert paired is not None and paired.classes == ["b", "c"]
    assert paired.rows.tolist() == [1, 2]
    assert paired.candidate.tolist() == [True, False]
    assert paired.baseline.tolist() == [True, True]


@pytest.mark.parametrize(
    "known",
    [
        {CANDIDATE: ["a", "b"]},
        {CANDIDATE: ["a", "b"], BASELINE: ["b", "c"]},
        {CANDIDATE: ["a", "b"], BASELINE: ["c", "d"]},
    ],
)
def test_without_two_common_classes_there_is_nothing_to_compare(known: dict) -> None:
    said = {model: [labels[0]] * 2 for model, labels in known.items()}
    assert comparison.pair(photos_of(["a", "b"], said, known)) is None
