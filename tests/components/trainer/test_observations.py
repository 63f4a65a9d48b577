"""What is said of a training."""

import pytest

from components.trainer.observations import overfitting, small_classes, still_improving


def new_curves(accuracy: list[float], val_accuracy: list[float]) -> dict[str, list[float]]:
    return {"accuracy": accuracy, "val_accuracy": val_accuracy}


def test_overfitting_is_told_with_both_figures_of_the_kept_epoch_and_what_helps() -> None:
    curves = new_curves([0.5, 0.98, 1.0], [0.5, 0.71, 0.2])
    assert overfitting(curves, 1084, 2) == (
        "Overfitting: in epoch 2, which is kept, accuracy is 0.980 on the images trained on and "
        "0.710 on the 1,084 watched. More photos, train.augment, a higher head.dropout or a "
        "smaller head.hidden narrow the gap."
    )


@pytest.mark.parametrize(
    ("accuracy", "val_accuracy", "watched", "is_told"),
    [
        (0.95, 0.86, 10_000, False),  # a gap of 0.09
        (0.95, 0.84, 10_000, True),  # 0.11, two standard errors are 0.007
        (0.75, 0.5, 16, False),  # 0.25, two standard errors are 0.25
        (0.76, 0.5, 16, True),
        (0.6, 0.9, 100, False),  # the watched are better
        (1.0, 0.0, 30, True),
        (1.0, 0.0, 0, False),  # nothing was watched
        (float("nan"), 0.5, 100, False),
        (0.9, float("nan"), 100, False),
    ],
)
def test_overfitting_is_a_gap_above_a_tenth_and_two_standard_errors(
    accuracy: float, val_accuracy: float, watched: int, is_told: bool
) -> None:
    told = overfitting(new_curves([accuracy], [val_accuracy]), watched, 1)
    assert (told is not None) == is_told


def test_a_watched_loss_that_rose_after_the_kept_epoch_is_not_told() -> None:
    curves = {
        "loss": [1.0, 0.5, 0.1, 0.01],
        "val_loss": [1.0, 0.6, 0.7, 0.9],
        **new_curves([0.5, 0.8, 0.97, 1.0], [0.5, 0.78, 0.75, 0.7]),
    }
    assert overfitting(curves, 1000, 2) is None
    assert overfitting(curves, 1000, 4) is not None


@pytest.mark.parametrize("epoch", [0, 3, -1])
def test_an_epoch_that_there_is_not_is_refused(epoch: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 2. Received: best_epoch={epoch}"):
        overfitting(new_curves([0.5, 0.9], [0.5, 0.9]), 100, epoch)


def test_a_loss_that_falls_to_the_last_epoch_is_told() -> None:
    assert still_improving({"val_loss": [1.5, 0.9, 0.75]}, 3, 3) == (
        "The watched loss was still falling in the last of 3 epochs, from 0.9 to 0.75. More "
        "epochs may reach a higher accuracy."
    )


@pytest.mark.parametrize(
    ("losses", "best_epoch", "epochs"),
    [
        ([1.0, 0.5, 0.6], 2, 3),  # it rose
        ([1.0, 0.5, 0.496], 3, 3),  # it hardly fell
        ([1.0, 0.5, 0.3], 3, 10),  # something else ended it
        ([1.0], 1, 1),  # nothing to compare with
    ],
)
def test_a_loss_that_settled_or_was_stopped_is_not_told(
    losses: list[float], best_epoch: int, epochs: int
) -> None:
    assert still_improving({"val_loss": losses}, best_epoch, epochs) is None


def test_small_classes_are_named_smallest_first() -> None:
    counts = {"rose": 19, "daisy": 20, "tulip": 3, "aster": 19}
    assert small_classes(counts) == (
        "Fewer than 20 training images: tulip (3), aster (19), rose (19). Figures of such a class "
        "may be chance. Add photos of it, or merge it with another class."
    )


@pytest.mark.parametrize(
    ("classes", "end"), [(5, "e (0)."), (6, "e (0) and 1 more class."), (9, "and 4 more classes.")]
)
def test_five_small_classes_are_named_and_the_rest_counted(classes: int, end: str) -> None:
    told = small_classes(dict.fromkeys("abcdefghi"[:classes], 0), least=1)
    assert told is not None
    assert end in told
    assert told.count("(0)") == 5


def test_large_enough_classes_are_not_told() -> None:
    assert small_classes({"rose": 20}) is None
    assert small_classes({"rose": 5}, least=5) is None
    assert small_classes({}) is None
