"""What is worth saying of a training in words; pure, so that it is known without Keras."""

import math
from collections.abc import Mapping

LARGE_GAP = 0.1  # accuracy; below it a gap is usual and seldom worth a change
STANDARD_ERRORS = 2  # a gap within these may be chance
STILL_FALLING = 0.01  # share of the watched loss that one epoch must take off
NAMED = 5  # classes

Curves = Mapping[str, list[float]]


def overfitting(curves: Curves, watched: int, best_epoch: int) -> str | None:
    """Says that the model knows its training images much better than others.

    Only the epoch that is kept counts: a watched loss that rises after it is what early stopping is
    for. The gap is told where it is above 0.1 and above two standard errors of the watched
    accuracy, the square root of a (1 - a) / n each. Accuracy on the images trained on is Keras's
    mean over the epoch, under dropout and augmentation, so that the true gap is rather larger.

    Args:
        curves: of one stage, `accuracy` and `val_accuracy`, shares, one value an epoch.
        watched: number of images that `val_accuracy` is of.
        best_epoch: the epoch whose weights are kept, counted from 1.

    Returns:
        Sentences with both figures and what narrows the gap, or None.

    Raises:
        ValueError: there is no such epoch.
    """
    trained_on = _value(curves, "accuracy", best_epoch)
    held_out = _value(curves, "val_accuracy", best_epoch)
    if watched < 1:
        return None
    error = math.sqrt(held_out * (1 - held_out) / watched)
    # Not less or equal: of NaN nothing is said.
    if not trained_on - held_out > max(LARGE_GAP, STANDARD_ERRORS * error):
        return None
    return (
        f"Overfitting: in epoch {best_epoch}, which is kept, accuracy is {trained_on:.3f} on the "
        f"images trained on and {held_out:.3f} on the {watched:,} watched. More photos, "
        "train.augment, a higher head.dropout or a smaller head.hidden narrow the gap."
    )


def still_improving(curves: Curves, best_epoch: int, epochs: int) -> str | None:
    """Says that training ended at its last allowed epoch while the watched loss was falling.

    Args:
        curves: of one stage, `val_loss`, one value an epoch.
        best_epoch: the epoch whose weights are kept, counted from 1.
        epochs: most epochs that were allowed.

    Returns:
        A sentence where the last of at least two epochs is the best, and lowered the loss by more
        than 1 %; else None.

    Raises:
        ValueError: there is no such epoch.
    """
    best = _value(curves, "val_loss", best_epoch)
    if best_epoch < max(2, epochs):
        return None
    before = _value(curves, "val_loss", best_epoch - 1)
    if not best < (1 - STILL_FALLING) * before:
        return None
    return (
        f"The watched loss was still falling in the last of {epochs:,} epochs, from {before:.3g} "
        f"to {best:.3g}. More epochs may reach a higher accuracy."
    )


def small_classes(counts: Mapping[str, int], least: int = 20) -> str | None:
    """Names classes with few training images, the smallest first.

    Args:
        counts: training images of each class.
        least: images below which a class is named, at least 1. Default: 20.

    Returns:
        Sentences that name at most 5 classes and count the rest, or None where there is none.
    """
    small = sorted((count, label) for label, count in counts.items() if count < least)
    if not small:
        return None
    named = ", ".join(f"{label} ({count:,})" for count, label in small[:NAMED])
    rest = len(small) - NAMED
    more = f" and {rest:,} more {'class' if rest == 1 else 'classes'}" if rest > 0 else ""
    return (
        f"Fewer than {least:,} training images: {named}{more}. Figures of such a class may be "
        "chance. Add photos of it, or merge it with another class."
    )


def _value(curves: Curves, name: str, epoch: int) -> float:
    values = curves[name]
    if not 1 <= epoch <= len(values):
        raise ValueError(
            f"Expected an epoch from 1 to {len(values)}. Received: best_epoch={epoch}. Count "
            "epochs from 1."
        )
    return values[epoch - 1]
