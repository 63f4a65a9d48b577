"""What the evaluation came to, in words."""

import subprocess
import sys

from components.evaluator.results import (
    BASELINE,
    CANDIDATE,
    Metrics,
    class_changes,
    verdict_in_words,
)

LIMITS = {"min_accuracy": 0.6, "max_accuracy_drop": 0.02}


def overall(accuracy: float, count: float = 1234.0) -> Metrics:
    return Metrics({"accuracy": accuracy, "example_count": count})


def test_a_first_model_that_passes() -> None:
    assert verdict_in_words({CANDIDATE: overall(0.71249)}, LIMITS, True) == (
        "Passed: accuracy 0.712 on 1,234 validation photos (at least 0.600 is asked); "
        "no served model to compare with."
    )


def test_a_model_below_the_served_one() -> None:
    metrics = {CANDIDATE: overall(0.7), BASELINE: overall(0.8)}
    assert verdict_in_words(metrics, LIMITS, False) == (
        "Refused: accuracy 0.700 on 1,234 validation photos (at least 0.600 is asked); "
        "the served model reaches 0.800 on the same photos (a drop of up to 0.020 is allowed). "
        "The drop is that of 123 photos; to allow it, raise evaluate.max_accuracy_drop above 0.100."
    )


def test_a_model_below_the_floor_is_told_by_that() -> None:
    metrics = {CANDIDATE: overall(0.5), BASELINE: overall(0.8)}
    words = verdict_in_words(metrics, LIMITS, False)
    assert words.endswith("Train longer or on more photos, or lower evaluate.min_accuracy.")


def test_classes_that_came_and_went_are_named() -> None:
    assert class_changes(["a", "b"], ["b", "a"]) == ""
    assert class_changes([], ["a", "b"]) == ""
    assert class_changes(["a", "b", "c"], ["c", "d"]) == (
        " Classes of the served model that this one does not know: a, b. New classes: d."
    )


def test_words_are_found_without_importing_tensorflow() -> None:
    script = "import sys, components.evaluator.results; print('tensorflow' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert told.stdout.strip() == "False"


def test_a_served_model_that_was_not_compared_is_named() -> None:
    words = verdict_in_words({CANDIDATE: overall(0.9)}, LIMITS, True, 7)
    assert "version 7, which was served, is not in this pipeline's metadata" in words
