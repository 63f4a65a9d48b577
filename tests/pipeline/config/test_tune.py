"""The section `tune`: what a search space may be, and how a bad one is told."""

from typing import Any

import pytest

from pipeline.config import load

HIDDEN = "a list of at least one list of widths, none twice, such as [[], [128]]"
DROPOUT = "a list of at least one share from 0 to 0.95, none twice, or {min, max}"
RATE = "a list of at least one step size from 1e-9 to 10, none twice, or"
LAYERS = "a list of values of fine_tune.layers above 0, none twice"


def test_the_tuner_is_off_by_default(project: Any) -> None:
    tune = load(project.write()).tune
    assert (tune.trials, tune.algorithm, tune.every_run) == (0, "random", False)


def test_a_search_space_of_lists_and_ranges(project: Any) -> None:
    space = "{hidden: [[], [8, 4]], dropout: [0, 0.5], learning_rate: {min: 1.0e-5, max: 0.1}, "
    text = f"tune:\n  trials: 3\n  space: {space}fine_tune_layers: [2, block5, all]}}\n"
    assert load(project.write(project.least + text)).tune.model_dump(mode="json") == {
        "trials": 3,
        "algorithm": "random",
        "space": {
            "hidden": [[], [8, 4]],
            "dropout": [0, 0.5],
            "learning_rate": {"min": 1.0e-5, "max": 0.1},
            "fine_tune_layers": [2, "block5", "all"],
        },
        "every_run": False,
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("hidden", "[]", HIDDEN),
        ("hidden", "[128]", HIDDEN),
        ("hidden", "[[8], [8]]", HIDDEN),
        ("hidden", "[[0]]", HIDDEN),
        ("hidden", "[[8.5]]", HIDDEN),
        ("hidden", "{min: 1, max: 8}", HIDDEN),
        ("dropout", "[]", DROPOUT),
        ("dropout", "0.5", DROPOUT),
        ("dropout", "[0.96]", DROPOUT),
        ("dropout", "[true]", DROPOUT),
        ("dropout", "['0.5']", DROPOUT),
        ("dropout", "{min: 0.5, max: 0.5}", DROPOUT),
        ("dropout", "{min: 0.5}", DROPOUT),
        ("dropout", "{min: 0, max: 1}", DROPOUT),
        ("dropout", "{min: 0, max: 0.5, step: 0.1}", DROPOUT),
        ("learning_rate", "[]", RATE),
        ("learning_rate", "[0]", RATE),
        ("learning_rate", "[.nan]", RATE),
        ("learning_rate", "{min: 0, max: 0.1}", RATE),
        ("learning_rate", "[0.1, 0.1]", RATE),
        ("fine_tune_layers", "[0]", LAYERS),
        ("fine_tune_layers", "[2, 2]", LAYERS),
        ("fine_tune_layers", "[true]", LAYERS),
        ("fine_tune_layers", "[1.5]", LAYERS),
        ("fine_tune_layers", "['']", LAYERS),
    ],
)
def test_a_bad_search_space_is_told_with_what_is_expected(
    project: Any, key: str, value: str, expected: str
) -> None:
    name = f"tune.space.{key}"
    message = project.refusal(project.write(), f"{name}={value}")
    assert message.startswith(f"flowers.yaml, --set {name}: Expected {name} to be {expected}")
    assert f"Received: {name}=" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tune.trials", "-1", "a whole number from 0 to 100000 (trials)"),
        ("tune.algorithm", "grid", "one of random, bayesian, hyperband"),
        ("tune.every_run", "3", ""),
    ],
)
def test_another_bad_value_of_tune_is_told(
    project: Any, key: str, value: str, expected: str
) -> None:
    message = project.refusal(project.write(), f"{key}={value}")
    assert message.startswith(f"flowers.yaml, --set {key}: Expected {key} to be {expected}")
    assert len(message.splitlines()) == 1


def test_an_unknown_key_of_the_space_is_told_with_the_nearest(project: Any) -> None:
    message = project.refusal(
        project.write(project.least + "tune: {space: {learning_rates: [1]}}\n")
    )
    assert "Received: the unknown key tune.space.learning_rates=[1]." in message
    assert "tune.space.learning_rate" in message
