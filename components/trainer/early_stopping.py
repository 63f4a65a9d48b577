"""Which training images early stopping watches; validation stays unseen by the trainer."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

# With few photos the loss on a tenth of them is noise, and an epoch is but a few steps: stopping
# after three such epochs was seen to cost 120 photos 40 points of accuracy.
MIN_WATCHED = 30  # images, but never more than a quarter of them
MIN_STEPS = 60  # optimiser steps without improvement

SALT = b"watch"  # another hash than the split's, or the watched part would be one edge of the split


def watched(keys: Sequence[bytes], labels: Sequence[int], share: float) -> np.ndarray:
    """Chooses the part of the training images that is watched and not trained on.

    Equal keys (copies of one image) fall on the same side, and the choice does not depend on order.

    Args:
        keys: what decides the split of each image: the digest of its content or of its group.
        labels: one label an image; one image of each stays to be trained on.
        share: part of the distinct keys to watch, in (0, 0.5]; where that is below `MIN_WATCHED`,
            as many of those as a quarter of the keys allows.

    Returns:
        bool [images], at least one True where a key is left that no label needs.
    """
    labels_of: dict[bytes, set[int]] = {}
    for key, label in zip(keys, labels, strict=True):
        labels_of.setdefault(key, set()).add(label)
    ranked = sorted(labels_of, key=lambda key: hashlib.sha256(SALT + key).digest())
    # Of each label the key that ranks last is never watched; a group may hold several labels.
    spared = set({label: key for key in ranked for label in labels_of[key]}.values())
    free = [key for key in ranked if key not in spared]
    least = min(MIN_WATCHED, len(ranked) // 4)
    chosen = set(free[: max(1, least, round(share * len(ranked)))])
    return np.array([key in chosen for key in keys], dtype=bool)


def patience_in_epochs(patience: int, images: int, batch_size: int) -> int:
    """Returns how many epochs without improvement to wait.

    Args:
        patience: epochs as configured.
        images: number of images trained on, at least 1.
        batch_size: images in one step.

    Returns:
        `patience`, or as many epochs as `MIN_STEPS` steps take where those are more; 0 stays 0.
    """
    steps = math.ceil(images / batch_size)
    return max(patience, math.ceil(MIN_STEPS / steps)) if patience else 0
