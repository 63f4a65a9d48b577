"""Every check, passing and failing, with its words."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.errors import InputError
from components.evaluator.photos import BASELINE, CANDIDATE, Photos
from components.evaluator.results import Metrics
from components.model_gate.gate import check_classes, judge
from components.model_gate.limits import Limits, SliceLimit
from components.verdict import Check, Verdict

from .test_comparison import photos_of

TRUTH = ["tulip"] * 50 + ["rose"] * 50
MODEL_BYTES = 8_000_000


def said(tulips: int, roses: int) -> list[str]:
    """Returns answers of which so many are right."""
    answers = ["tulip"] * tulips + ["rose"] * (50 - tulips)
    return [*answers, *["rose"] * roses, *["tulip"] * (50 - roses)]


def photos(candidate: tuple[int, int], baseline: tuple[int, int] | None = None) -> Photos:
    models = {CANDIDATE: said(*candidate)}
    if baseline:
        models[BASELINE] = said(*baseline)
    return photos_of(TRUTH, models)


def metrics_of(given: Photos, **overall: float) -> dict[str, Metrics]:
    found = {}
    for model, probabilities in given.probabilities.items():
        right = probabilities.argmax(axis=1) == given.label_index
        accuracy = float(right.mean()) if len(right) else 0.0
        per_class: dict[str, dict[str, float | None]] = {
            label: {
                "recall": float(right[given.label_index == column].mean())
                if (given.label_index == column).any()
                else None,
                "precision": 0.8,
            }
            for column, label in enumerate(given.labels.union)
        }
        found[model] = Metrics({"accuracy": accuracy, **overall}, per_class=per_class)
    return found


def verdict_of(
    given: Photos, model_bytes: int = MODEL_BYTES, why: str = "", **limits: Any
) -> Verdict:
    overall = {"balanced_accuracy": 0.8, "auc": 0.9, "log_loss": 0.5, "calibration_error": 0.1}
    return judge(given, metrics_of(given, **overall), Limits(**limits), MODEL_BYTES, why)


def check_of(verdict: Verdict, name: str) -> Check:
    [found] = [check for check in verdict.checks if check.name == name]
    return found


def test_a_first_model_that_passes() -> None:
    verdict = verdict_of(photos((40, 40)))
    assert verdict.passed
    assert verdict.words == (
        "Passed: accuracy 0.800 on 100 validation photos (at least 0.600 is asked); no served "
        "model to compare with."
    )
    assert [check.name for check in verdict.checks] == [
        "min_accuracy",
        "max_model_size",
    ]
    assert verdict.facts["comparison"] is None and verdict.facts["not_compared"] is None


def test_a_worse_model_is_refused_with_how_much_how_sure_and_where() -> None:
    verdict = verdict_of(photos((35, 45), (45, 45)), max_recall_drop=None)
    assert not verdict.passed
    low, high = verdict.facts["comparison"]["interval"]
    assert -0.17 < low < -0.14 and -0.06 < high < -0.03
    assert verdict.words == (
        "Refused: accuracy 0.800 is 0.100 below the served model (95 % interval "
        f"{low:+.3f} … {high:+.3f}, 100 photos); worst: tulip recall -0.200. Accuracy 0.800 is "
        "0.100 below the served model's 0.900 (a drop of up to 0.000 is allowed); to allow it, "
        "raise evaluate.max_accuracy_drop to 0.1000 or more."
    ).replace("-", "−")
    check = check_of(verdict, "max_accuracy_drop")
    assert check.figure == pytest.approx(0.1) and check.limit == 0 and not check.passed


@pytest.mark.parametrize("candidate", [(45, 45), (46, 45)])
def test_an_equal_or_better_model_passes(candidate: tuple[int, int]) -> None:
    verdict = verdict_of(photos(candidate, (45, 45)))
    assert verdict.passed and verdict.words.startswith("Passed: accuracy 0.9")
    assert ("as high as" in verdict.words) == (candidate == (45, 45))
    assert "worst" not in verdict.words


def test_a_drop_at_the_limit_passes_and_one_beyond_does_not() -> None:
    given = photos((40, 45), (45, 45))
    assert verdict_of(given, max_accuracy_drop=0.05).passed
    assert not verdict_of(given, max_accuracy_drop=0.049).passed


def test_a_drop_within_noise_passes_where_significance_is_required() -> None:
    within, beyond = photos((43, 45), (45, 45)), photos((30, 45), (45, 45))
    assert not verdict_of(within).passed
    verdict = verdict_of(within, require_significance=True)
    assert verdict.passed and "within noise" in check_of(verdict, "max_accuracy_drop").words
    verdict = verdict_of(beyond, require_significance=True)
    assert not verdict.passed and "sure to be more" in verdict.words


def test_a_model_below_the_floor_is_refused_though_it_is_better_than_the_served_one() -> None:
    verdict = verdict_of(photos((20, 20), (10, 10)))
    assert not verdict.passed
    assert verdict.words.endswith(
        "Accuracy 0.400 (at least 0.600 is asked); train longer or on more photos, or lower "
        "evaluate.min_accuracy."
    )


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ({"min_balanced_accuracy": 0.8}, True),
        ({"min_balanced_accuracy": 0.81}, False),
        ({"min_auc": 0.9}, True),
        ({"min_auc": 0.91}, False),
        ({"max_log_loss": 0.5}, True),
        ({"max_log_loss": 0.49}, False),
        ({"max_calibration_error": 0.1}, True),
        ({"max_calibration_error": 0.09}, False),
        ({"min_recall": {"tulip": 0.8}}, True),
        ({"min_recall": {"tulip": 0.81}}, False),
        ({"min_precision": {"rose": 0.8}}, True),
        ({"min_precision": {"rose": 0.81}}, False),
        ({"max_model_size": 8.0}, True),
        ({"max_model_size": 7.9}, False),
    ],
)
def test_limits_are_held_to_and_named(limits: dict[str, Any], passes: bool) -> None:
    [key] = limits
    verdict = verdict_of(photos((40, 40)), **limits)
    assert verdict.passed == passes
    [check] = [one for one in verdict.checks if one.name.split(".")[0] == key]
    assert check.passed == passes and (f"evaluate.{key}" in check.words) != passes
    assert (check.words in verdict.words) != passes


def test_a_figure_that_could_not_be_measured_does_not_pass() -> None:
    given = photos((40, 40))
    verdict = judge(given, metrics_of(given), Limits(min_auc=0.5), MODEL_BYTES)
    assert not verdict.passed and "The AUC could not be measured." in verdict.words


def test_a_class_that_has_become_worse_beyond_noise_is_refused_though_accuracy_rose() -> None:
    given = photos((50, 30), (20, 45))
    verdict = verdict_of(given)
    check = check_of(verdict, "max_recall_drop.rose")
    assert (check.figure, check.limit, check.passed) == (pytest.approx(0.3), 0.1, False)
    assert check_of(verdict, "max_accuracy_drop").passed
    assert verdict.words.startswith("Refused: accuracy 0.800 is 0.150 above the served model")
    assert verdict_of(given, max_recall_drop=None).passed
    assert verdict_of(given, max_recall_drop=0.3).passed


def test_of_many_classes_that_have_become_worse_the_first_are_named() -> None:
    labels = [f"class{number:02d}" for number in range(14)]
    truth = [label for label in labels for _ in range(40)]
    others = dict(zip(labels, labels[1:] + labels[:1], strict=True))
    given = photos_of(truth, {CANDIDATE: [others[one] for one in truth], BASELINE: truth})
    failed = [check for check in verdict_of(given).checks if "max_recall_drop" in check.name]
    assert len(failed) == 11 and not any(check.passed for check in failed)
    assert failed[-1].words == "The recall of 4 more classes falls likewise."


def test_a_class_whose_drop_may_be_noise_passes_and_is_told() -> None:
    # Five photos of fifty: McNemar's p value is 2 / 2^5, above 0.05 / 2 classes.
    check = check_of(
        verdict_of(photos((50, 40), (45, 45)), max_recall_drop=0.05), "max_recall_drop"
    )
    assert check.passed
    assert check.figure == pytest.approx(0.1)
    assert "−0.100" in check.words


@pytest.mark.parametrize("key", ["min_recall", "min_precision"])
def test_a_class_that_there_is_not_is_named_with_the_nearest(key: str) -> None:
    with pytest.raises(InputError, match=f"{key}.*Received: tulpi. Did you mean tulip?"):
        check_classes(Limits(**{key: {"tulpi": 0.5}}), ["rose", "tulip"])
    with pytest.raises(InputError, match="They are rose, tulip."):
        check_classes(Limits(**{key: {"x": 0.5}}), ["rose", "tulip"])


def test_slices_are_held_to_their_limits() -> None:
    given = photos((25, 50), (50, 50))
    passing = SliceLimit("label=rose", min_accuracy=1.0, max_accuracy_drop=0.0)
    failing = SliceLimit("label=tulip", min_accuracy=0.6)
    falling = SliceLimit("label=tulip", max_accuracy_drop=0.4)
    few = replace(failing, min_examples=51)
    for limit, passes in ((passing, True), (failing, False), (falling, False), (few, True)):
        verdict = verdict_of(
            given, max_accuracy_drop=1.0, max_recall_drop=None, slice_limits=(limit,)
        )
        assert verdict.passed == passes, limit
    assert "fewer than 51, so not judged" in check_of(verdict, "slice_limits.label=tulip").words


def test_a_slice_without_photos_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="Received: label=lily. .*format=jpeg, label=rose"):
        verdict_of(photos((40, 40)), slice_limits=(SliceLimit("label=lily"),))


def test_a_comparison_that_is_impossible_is_declared_and_refused_only_if_asked() -> None:
    why = "version 7, which is served, is not in this pipeline's metadata"
    verdict = verdict_of(photos((40, 40)), why=why)
    assert verdict.passed and verdict.words.endswith(f"not compared: {why}.")
    assert verdict.facts["not_compared"] == why
    verdict = verdict_of(photos((40, 40)), why=why, require_comparison=True)
    assert not verdict.passed and f"Not compared: {why}" in verdict.refusal
    assert verdict_of(photos((40, 40)), require_comparison=True).passed  # nothing is served


def test_a_baseline_without_common_classes_is_declared() -> None:
    known = {CANDIDATE: ["rose", "tulip"], BASELINE: ["cat", "dog"]}
    given = photos_of(TRUTH, {CANDIDATE: said(40, 40), BASELINE: ["cat"] * 100}, known)
    verdict = verdict_of(given)
    assert verdict.passed and "fewer than two classes in common" in verdict.words


def test_a_small_validation_set_is_said_to_be_small() -> None:
    [note] = verdict_of(photos((40, 40))).facts["notes"]
    assert note == (
        "100 validation photos are few: accuracy is only known to lie between 0.711 and 0.867; to "
        "know it to ±0.02, about 1,537 are needed."
    )
    many = photos_of(TRUTH * 100, {CANDIDATE: said(40, 40) * 100})
    assert verdict_of(many).facts["notes"] == []


def test_a_comparison_on_a_part_of_the_classes_is_told() -> None:
    known = {CANDIDATE: ["lily", "rose", "tulip"], BASELINE: ["rose", "tulip"]}
    truth = [*TRUTH, *["lily"] * 10]
    answers = {
        CANDIDATE: [*said(45, 45), *["lily"] * 10],
        BASELINE: [*said(45, 45), *["rose"] * 10],
    }
    verdict = verdict_of(photos_of(truth, answers, known))
    assert verdict.passed and verdict.facts["comparison"]["photos"] == 100
    assert "compared were 100 photos of those that both know (rose, tulip)" in " ".join(
        verdict.facts["notes"]
    )


def test_a_verdict_survives_json() -> None:
    verdict = verdict_of(photos((35, 45), (45, 45)))
    again = Verdict.from_json(verdict.to_json())
    assert again.words == verdict.words and again.checks == verdict.checks
    assert again.facts["comparison"]["fixed"] == 0 and again.facts["comparison"]["broken"] == 10
    assert not np.isnan(again.facts["comparison"]["p_value"])
