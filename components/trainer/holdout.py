"""Which training images early stopping watches; validation stays unseen by the trainer."""

import hashlib
from collections.abc import Sequence

import numpy as np

# Another hash than the split's, or the watched part would be one edge of the split.
SALT = b"watch"


def watched(keys: Sequence[bytes], share: float) -> np.ndarray:
    """Chooses the part of the training images that is watched and not trained on.

    Equal keys (copies of one image) fall on the same side, and the choice does not depend on order.

    Args:
        keys: one content key an image.
        share: part of the distinct keys to watch, in (0, 0.5].

    Returns:
        bool [images], at least one True and one False where there are two distinct keys.
    """
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(SALT + key).digest())
    count = min(max(1, round(share * len(ranked))), len(ranked) - 1)
    chosen = set(ranked[:count])
    return np.array([key in chosen for key in keys], dtype=bool)
