"""What lets an exported model pass, and each thing that does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.serving_gate.gate import SIGNATURES, Answers, ServingLimits, failure, judge
from components.verdict import Check

EVALUATED = np.array([[0.9, 0.1], [0.3, 0.7]], np.float32)
GOOD = Answers(
    signatures=SIGNATURES,
    probabilities={"bytes": EVALUATED + np.float32(1e-6), "pixels": EVALUATED[:1]},
    expected={"bytes": EVALUATED, "pixels": EVALUATED[:1]},
    bad={
        "decoded": np.array([True, False, False, True]),
        "probabilities": np.array([[0.9, 0.1], [0, 0], [0, 0], [0.3, 0.7]], np.float32),
        "label": np.array(["rose", "", "", "tulip"]),
    },
    seconds=[0.01] * 98 + [0.05] * 2,
    peak_mb=700.0,
    warmed=4,
    formats={"jpeg": 1, "png": 1},
)


def failed(answers: Answers, **limits: Any) -> list[Check]:
    return [check for check in judge(answers, ServingLimits(**limits)).checks if not check.passed]


def test_a_model_that_answers_as_it_was_evaluated_passes_with_its_costs() -> None:
    verdict = judge(GOOD, ServingLimits())
    assert verdict.passed
    by_name = {check.name: check for check in verdict.checks}
    assert by_name["parity"].figure == pytest.approx(1e-6, rel=0.1)
    assert "in 2 ways about 2 photos (jpeg 1, png 1)" in by_name["parity"].words
    assert by_name["max_latency"].words.startswith("A photo takes 10 ms, one in a hundred 50 ms")


@pytest.mark.parametrize(
    ("changed", "limits", "name", "told"),
    [
        ({"signatures": SIGNATURES[1:]}, {}, "signatures", "lacks the signatures serving_default"),
        (
            {"probabilities": {**GOOD.probabilities, "pixels": EVALUATED[1:]}},
            {},
            "parity",
            "the largest by pixels",
        ),
        (
            {"probabilities": {**GOOD.probabilities, "pixels": EVALUATED[:1] * np.float32("nan")}},
            {},
            "parity",
            "What is served is not what was judged",
        ),
        (
            {"bad": {**GOOD.bad, "decoded": np.array([True, False, False, False])}},
            {},
            "bad_files",
            "disturb their neighbours",
        ),
        (
            {"bad": {**GOOD.bad, "label": np.array(["rose", "rose", "", "tulip"])}},
            {},
            "bad_files",
            "get a label",
        ),
        ({"warmed": 0}, {}, "warmup", "no requests"),
        ({}, {"max_latency": 9.0}, "max_latency", "raise evaluate.max_latency"),
        ({}, {"max_memory": 600.0}, "max_memory", "raise evaluate.max_memory"),
    ],
)
def test_each_thing_that_is_wrong_is_told_alone(
    changed: dict[str, Any], limits: dict[str, Any], name: str, told: str
) -> None:
    [check] = failed(replace(GOOD, **changed), **limits)
    assert check.name == name
    assert told in check.words


def test_a_model_that_cannot_be_asked_does_not_pass() -> None:
    verdict = failure("Op type not registered 'Own'")
    assert not verdict.passed
    assert "in a process of its own: Op type not registered 'Own'." in verdict.refusal
