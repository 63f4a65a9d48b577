"""How much an image of each class counts in training; known without Keras."""

from collections.abc import Sequence


def class_weights(counts: Sequence[int]) -> list[float]:
    """Returns weights by which every class counts the same in all: n / (k · n_c).

    The mean weight over all images is 1, so that the learning rate keeps its meaning. Source: King
    and Zeng 2001; scikit-learn's `class_weight="balanced"`.

    Args:
        counts: training images of each class, at least 0.

    Returns:
        One weight a class; 0 for a class without images, which then does not count in k either.
    """
    present = sum(count > 0 for count in counts)
    total = sum(counts)
    return [total / (present * count) if count else 0.0 for count in counts]
