"""What the evaluation came to, in words."""

import subprocess
import sys

from components.evaluator.results import class_changes


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
